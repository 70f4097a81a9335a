//! The CPUs.

/// The CPUs that the process may run on.
pub fn available_cpus() -> Vec<usize> {
    // SAFETY: zero is an empty set, which the call fills.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::sched_getaffinity(libc::getpid(), size_of_val(&set), &mut set);
        (0..libc::CPU_SETSIZE as usize).filter(|&cpu| libc::CPU_ISSET(cpu, &set)).collect()
    }
}

/// Has the thread run on this CPU alone.
pub fn pin(cpu: usize) {
    // SAFETY: zero is an empty set, to which a CPU is added.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(cpu, &mut set);
        libc::sched_setaffinity(0, size_of_val(&set), &set);
    }
}
