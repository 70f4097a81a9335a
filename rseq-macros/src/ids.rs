//! The numbers of things, each kind of a type of its own, and lists that are told apart by them.

use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, Index, IndexMut};

/// A number of some kind of thing.
pub trait Id: Copy {
    fn new(number: usize) -> Self;
    fn number(self) -> usize;
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident)*) => { $(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
        pub struct $name(pub usize);

        impl Id for $name {
            fn new(number: usize) -> Self {
                Self(number)
            }

            fn number(self) -> usize {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )* };
}

ids! {
    /// A value of the window.
    ValueId
    /// An expression that is evaluated before the window.
    OutsideId
    /// A place that is found in the window.
    InsideId
    /// An exit of the window.
    ExitId
    /// The type of a statement of the window, or of the commit, which is behind the last.
    TypeId
    /// A type that a pointer points to.
    PointeeId
    /// A virtual register. Each is written once, before the window or by one step of it.
    Register
    /// A register of the machine, by the order in which a window comes to need them.
    MachineRegister
}

/// A list whose items are known by numbers of a type of their own.
pub struct List<I, T>(Vec<T>, PhantomData<I>);

impl<I: Id, T> List<I, T> {
    /// Takes one more item, and says its number.
    pub fn push(&mut self, item: T) -> I {
        self.0.push(item);
        I::new(self.0.len() - 1)
    }

    pub fn ids(&self) -> impl DoubleEndedIterator<Item = I> + ExactSizeIterator + use<I, T> {
        (0..self.0.len()).map(I::new)
    }

    /// A list with an item for each of this one's.
    pub fn map<U>(&self, item: impl FnMut(I) -> U) -> List<I, U> {
        List(self.ids().map(item).collect(), PhantomData)
    }
}

impl<I, T> Default for List<I, T> {
    fn default() -> Self {
        Self(Vec::new(), PhantomData)
    }
}

impl<I, T> Deref for List<I, T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<I: Id, T> Index<I> for List<I, T> {
    type Output = T;

    fn index(&self, id: I) -> &T {
        &self.0[id.number()]
    }
}

impl<I: Id, T> IndexMut<I> for List<I, T> {
    fn index_mut(&mut self, id: I) -> &mut T {
        &mut self.0[id.number()]
    }
}
