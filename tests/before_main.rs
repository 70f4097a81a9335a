//! What windows take for a constant was found ahead of `main`. The only test of this program, so that no section has run.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

/// If libc registers threads, where it says that their areas are.
#[test]
fn windows_know_where_areas_are() {
    // Ahead of what decides the mode.
    let found = rseq::__private::area_for_windows();
    if rseq::status().libc().active_bytes == 0 {
        println!("skipped: libc doesn't register threads");
        return;
    }
    // SAFETY: looks a name up, which is that of an offset in glibc.
    let offset = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"__rseq_offset".as_ptr()).cast::<isize>().as_ref() };
    assert_eq!(found, offset.expect("glibc has it").cast_unsigned());
}
