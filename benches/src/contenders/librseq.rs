//! librseq's sections, in C, from headers that are no part of this project: they are compiled when
//! the program starts.

use std::ffi::{CStr, CString, c_ulong, c_void};
use std::mem::transmute;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::Command;

use crate::measuring::Contender;
use anyhow::{Context, Result, ensure};

/// Names a folder with librseq's sources.
const VARIABLE: &str = "RSEQ_LIBRSEQ";
/// The name of these contenders.
pub const NAME: &str = "librseq";
/// The reason why they may not be to be had.
pub const NEEDS: &str = "RSEQ_LIBRSEQ to name a folder with its sources";

/// The functions of `librseq.c`, each with what it does [`BATCH`](crate::measuring::BATCH) times.
#[derive(Clone, Copy)]
pub struct Librseq {
    count_one: unsafe extern "C" fn(),
    count_in_turn: unsafe extern "C" fn(),
    lists: unsafe extern "C" fn(),
    buffers: unsafe extern "C" fn(),
    aborts: unsafe extern "C" fn() -> c_ulong,
}

impl Librseq {
    /// Compiles and loads it. `None` if no sources are given.
    pub fn load() -> Result<Option<Self>> {
        let Some(sources) = std::env::var_os(VARIABLE) else { return Ok(None) };
        let folder = tempfile::tempdir()?;
        let library = folder.path().join("librseq-bench.so");
        compile(Path::new(&sources), &library).with_context(|| format!("{VARIABLE}={}", sources.display()))?;
        // Stays loaded: threads leave its descriptors in force.
        let image = Image::load(&library)?;
        // SAFETY: `librseq.c` has these functions, of these types.
        unsafe {
            let is_available: extern "C" fn() -> bool = transmute(image.function(c"rseq_bench_is_available")?);
            ensure!(is_available(), "librseq needs a libc that registers threads");
            let batch =
                |name| image.function(name).map(|found| transmute::<*mut c_void, unsafe extern "C" fn()>(found));
            Ok(Some(Self {
                count_one: batch(c"rseq_bench_count_one")?,
                count_in_turn: batch(c"rseq_bench_count_in_turn")?,
                lists: batch(c"rseq_bench_lists")?,
                buffers: batch(c"rseq_bench_buffers")?,
                aborts: transmute::<*mut c_void, unsafe extern "C" fn() -> c_ulong>(
                    image.function(c"rseq_bench_aborts")?,
                ),
            }))
        }
    }

    /// Adds to counters.
    pub fn counters(self, distinct: usize) -> Contender {
        self.contender(if distinct == 1 { self.count_one } else { self.count_in_turn })
    }

    /// Pops from lists and pushes there.
    pub fn lists(self) -> Contender {
        self.contender(self.lists)
    }

    /// Pops from buffers and pushes there.
    pub fn buffers(self) -> Contender {
        self.contender(self.buffers)
    }

    fn contender(self, batch: unsafe extern "C" fn()) -> Contender {
        // SAFETY: it was available, and any thread may call these.
        let (run, aborts) = (move || unsafe { batch() }, move || unsafe { (self.aborts)() });
        Contender::of_batches(NAME, run).with_aborts(aborts)
    }
}

/// `librseq.c` with these headers to a shared object.
fn compile(sources: &Path, library: &Path) -> Result<()> {
    let own = library.with_extension("c");
    std::fs::write(&own, include_str!("librseq.c"))?;
    let mut cc = Command::new("cc");
    cc.args(["-std=gnu11", "-O2", "-fPIC", "-shared", "-pthread", "-o"]).arg(library).arg(own);
    let output = cc.arg("-I").arg(sources.join("include")).output().context("no C compiler")?;
    ensure!(output.status.success(), "{cc:?}:\n{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// A shared object that stays.
struct Image(*mut c_void);

impl Image {
    fn load(path: &Path) -> Result<Self> {
        let name = CString::new(path.as_os_str().as_bytes())?;
        // SAFETY: it does nothing when it is loaded.
        let image = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
        ensure!(!image.is_null(), "{} can't be loaded: does this libc register threads?", path.display());
        Ok(Self(image))
    }

    fn function(&self, name: &CStr) -> Result<*mut c_void> {
        // SAFETY: the image is loaded.
        let function = unsafe { libc::dlsym(self.0, name.as_ptr()) };
        ensure!(!function.is_null(), "{} isn't there", name.to_string_lossy());
        Ok(function)
    }
}
