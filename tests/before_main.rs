//! What windows take for a constant was found ahead of `main`. The only test of this program, so that no section has run.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

/// If libc registers threads, where it says that their areas are.
#[test]
fn windows_know_where_areas_are() {
    // SAFETY: looks a name up.
    let offset = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"__rseq_offset".as_ptr()) }.cast::<isize>();
    // SAFETY: as above.
    let size = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"__rseq_size".as_ptr()) }.cast::<u32>();
    // SAFETY: glibc's types of the two constants.
    let (Some(offset), Some(1..)) = (unsafe { (offset.as_ref(), size.as_ref()) }) else {
        println!("skipped: libc doesn't register threads");
        return;
    };
    assert_eq!(rseq::__private::area_for_windows(), offset.cast_unsigned());
}
