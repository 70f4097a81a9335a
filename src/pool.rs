//! Objects that are used again and again.

use alloc::boxed::Box;
use core::fmt;
use core::mem::ManuallyDrop;
use core::ops::{Deref, DerefMut};

use super::{AllocError, Stack};

/// Objects that are used again and again, each by one user at a time: buffers, parsers,
/// connections.
///
/// One that isn't in use lies with the CPU that returned it last, at most `N` with each. To take it
/// and to return it are a section each. Where a CPU has none, half of another's come to it; if none
/// has any, one is made.
///
/// ```
/// use rseq::Pool;
///
/// static BUFFERS: Pool<Vec<u8>> = Pool::new(|| Vec::with_capacity(4096));
///
/// let mut buffer = BUFFERS.take();
/// buffer.clear();                           // it is as its last user left it
/// buffer.extend_from_slice(b"some bytes");
/// drop(buffer);                             // returned
/// assert_eq!(BUFFERS.idle(), 1);
/// ```
///
/// *Memory*: objects lie in boxes. There are never more than `N` for each CPU that aren't in use:
/// one that is returned where there is no room is dropped. That is so only where [a
/// push](Stack::push) is refused, so a CPU had `N`; and one is made only where [a pop](Stack::pop)
/// finds none.
///
/// *Handlers of signals*: [`Pool::take`] makes an object where there is none, and dropping a
/// [`Pooled`] drops the object where there is no room. Both may call the allocator, on top of which
/// a handler may be. There, [`Pool::try_take`] and [`Pooled::try_return`] do the same without it:
///
/// ```
/// use rseq::{Pool, Pooled};
///
/// static BUFFERS: Pool<[u8; 256]> = Pool::new(|| [0; 256]);
///
/// extern "C" fn on_signal(_: i32) {
///     let Some(mut buffer) = BUFFERS.try_take() else { return };
///     buffer[0] += 1;
///     // Nobody else returns any, so there is room for it.
///     let _ = Pooled::try_return(buffer).map_err(std::mem::forget);
/// }
///
/// drop(BUFFERS.take());                     // now there is one
/// on_signal(0);
/// assert_eq!(BUFFERS.idle(), 1);
/// ```
///
/// Neither taking nor returning may happen in the `prepare` of a section: that one would never
/// commit.
pub struct Pool<T, const N: usize = 64, F = fn() -> T> {
    idle: Stack<Box<T>, N>,
    make: F,
}

impl<T, const N: usize, F> Pool<T, N, F> {
    /// Without objects; `make` makes one when it is needed.
    ///
    /// Async-signal-safe.
    #[must_use]
    pub const fn new(make: F) -> Self {
        Self { idle: Stack::new(), make }
    }

    /// Takes the memory for lists of objects now, so that taking and returning never panic for want
    /// of it. (Objects still need some when they are made.)
    ///
    /// Async-signal-safe.
    ///
    /// # Errors
    /// If there is none.
    pub fn allocate(&self) -> Result<(), AllocError> {
        self.idle.allocate()
    }

    /// How many objects aren't in use, while others may take and return them.
    ///
    /// Async-signal-safe.
    #[must_use]
    pub fn idle(&self) -> usize {
        self.idle.len()
    }
}

impl<T: Send, const N: usize, F: Fn() -> T> Pool<T, N, F> {
    /// An object, as its last user left it, or a new one. It returns when what this gives is
    /// dropped.
    ///
    /// Not async-signal-safe: it may call `make`, and allocate. [`Pool::try_take`] is.
    ///
    /// # Panics
    /// When `make` does; and if this is the first use, [`Pool::allocate`] wasn't called, and there
    /// is no memory.
    #[inline]
    pub fn take(&self) -> Pooled<'_, T, N> {
        let object = self.idle.pop_here().unwrap_or_else(|| self.take_elsewhere());
        Pooled { idle: &self.idle, object: ManuallyDrop::new(object) }
    }

    /// An idle object, as its last user left it. `None` if there is none: see [`Stack::pop`].
    ///
    /// It makes none and takes no memory: async-signal-safe.
    #[inline]
    pub fn try_take(&self) -> Option<Pooled<'_, T, N>> {
        let object = self.idle.is_made().then(|| self.idle.pop()).flatten()?;
        Some(Pooled { idle: &self.idle, object: ManuallyDrop::new(object) })
    }

    #[cold]
    fn take_elsewhere(&self) -> Box<T> {
        self.idle.steal().unwrap_or_else(|| Box::new((self.make)()))
    }
}

impl<T, const N: usize, F> fmt::Debug for Pool<T, N, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("idle", &self.idle()).finish_non_exhaustive()
    }
}

/// An object of a [`Pool`], which returns there when this is dropped. If it is
/// [forgotten](core::mem::forget), so is the object, and the pool makes another one.
#[must_use = "the object returns when this is dropped"]
pub struct Pooled<'p, T: Send, const N: usize = 64> {
    idle: &'p Stack<Box<T>, N>,
    object: ManuallyDrop<Box<T>>,
}

impl<T: Send, const N: usize> Pooled<'_, T, N> {
    /// Returns the object, as dropping this does, unless there is no room for it: see
    /// [`Stack::push`].
    ///
    /// It drops nothing and gives no memory back: async-signal-safe.
    ///
    /// # Errors
    /// If there is no room; then it is in use as before. A handler of signals mustn't drop it, but
    /// may keep it for later or [forget](core::mem::forget) it.
    ///
    /// ```
    /// use rseq::{Pool, Pooled};
    ///
    /// let pool = Pool::<String>::new(String::new);
    /// assert!(Pooled::try_return(pool.take()).is_ok());
    /// assert_eq!(pool.idle(), 1);
    /// ```
    #[inline]
    pub fn try_return(this: Self) -> Result<(), Self> {
        let idle = this.idle;
        idle.push(Self::detach(this)).map_err(|object| Self { idle, object: ManuallyDrop::new(object) })
    }

    /// Keeps the object: it doesn't return.
    ///
    /// Async-signal-safe.
    ///
    /// ```
    /// let pool = rseq::Pool::<String>::new(String::new);
    /// let kept: Box<String> = rseq::Pooled::detach(pool.take());
    /// drop(kept);
    /// assert_eq!(pool.idle(), 0);
    /// ```
    #[must_use]
    pub fn detach(this: Self) -> Box<T> {
        let mut this = ManuallyDrop::new(this);
        // SAFETY: taken once, because `this` isn't dropped.
        unsafe { ManuallyDrop::take(&mut this.object) }
    }
}

impl<T: Send, const N: usize> Pooled<'_, T, N> {
    /// Drops an object if there is no room for it.
    #[cold]
    fn drop_later(&self, object: Box<T>) {
        drop(self.idle.push_later(object));
    }
}

impl<T: Send, const N: usize> Deref for Pooled<'_, T, N> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.object
    }
}

impl<T: Send, const N: usize> DerefMut for Pooled<'_, T, N> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.object
    }
}

impl<T: Send, const N: usize> Drop for Pooled<'_, T, N> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: taken once, here.
        let object = unsafe { ManuallyDrop::take(&mut self.object) };
        if let Err(object) = self.idle.push_here(object) {
            self.drop_later(object);
        }
    }
}

impl<T: fmt::Debug + Send, const N: usize> fmt::Debug for Pooled<'_, T, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pooled").field(&self.object).finish()
    }
}
