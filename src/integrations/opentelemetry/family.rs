//! Metrics that are told apart by attributes.

use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::hash::{Hash, Hasher};
use core::marker::PhantomData;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, AtomicUsize, Ordering::AcqRel, Ordering::Acquire, Ordering::Relaxed};
use std::hash::DefaultHasher;

use ::opentelemetry::KeyValue;

/// Among so many lists members are spread by their attributes.
const LISTS: usize = 64;

/// As many as the SDK shows for an instrument unless a view says otherwise.
const LIMIT: usize = 2000;

/// Metrics of one kind that are told apart by attributes, each made when it is first asked for.
///
/// ```
/// use opentelemetry::KeyValue;
/// use rseq::Counter;
/// use rseq::opentelemetry::Family;
///
/// static REQUESTS: Family<Counter> = Family::new();
///
/// let of = |route: &'static str, status: i64| {
///     REQUESTS.get(&[KeyValue::new("route", route), KeyValue::new("status", status)])
/// };
/// of("/", 200).inc();
/// of("/", 404).inc();
/// of("/", 200).inc();
/// assert_eq!(of("/", 200).sum(), 2);
/// assert_eq!(REQUESTS.len(), 2);
/// ```
///
/// Attributes are the same in whatever order they come; of several with the same key the last one
/// counts.
///
/// Members stay as long as the family, and there is a limit to their number: attributes that come
/// too late share one member, whose only attribute is `otel.metric.overflow` = `true`, as
/// OpenTelemetry wants it. So hostile values take no more memory than that.
///
/// To look a member up is to hash the attributes and to compare them with those of some others,
/// which is about what the SDK does for each update: members are to be kept. It takes no lock, so
/// no child of `fork` finds one taken. It isn't fit for signal handlers, since it may allocate;
/// using the member that it returned is.
pub struct Family<M> {
    lists: [AtomicPtr<Member<M>>; LISTS],
    len: AtomicUsize,
    limit: usize,
    owns: PhantomData<Arc<M>>,
}

struct Member<M> {
    /// Sorted by their keys, each of which is there once.
    attributes: Vec<KeyValue>,
    metric: M,
    /// Null in the last of a list; otherwise it never changes.
    next: AtomicPtr<Self>,
}

impl<M> Family<M> {
    /// Without members, of which there can be 2000.
    ///
    /// Async-signal-safe.
    #[must_use]
    pub const fn new() -> Self {
        Self::with_limit(LIMIT)
    }

    /// Without members, of which there can be so many, that of the others included.
    ///
    /// Async-signal-safe.
    #[must_use]
    pub const fn with_limit(limit: usize) -> Self {
        let lists = [const { AtomicPtr::new(null_mut()) }; LISTS];
        Self { lists, len: AtomicUsize::new(0), limit, owns: PhantomData }
    }

    /// How many members there are.
    ///
    /// Async-signal-safe.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len.load(Relaxed)
    }

    /// `true` if there are none.
    ///
    /// Async-signal-safe.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Calls `visit` for each member, with its attributes in the order of their keys.
    ///
    /// Async-signal-safe, as far as `visit` is.
    ///
    /// ```
    /// # use opentelemetry::KeyValue;
    /// let requests = rseq::opentelemetry::Family::<rseq::Counter>::new();
    /// requests.get(&[KeyValue::new("route", "/")]).add(7);
    /// requests.each(|counter, attributes| {
    ///     assert_eq!((counter.sum(), &*attributes[0].value.as_str()), (7, "/"));
    /// });
    /// ```
    pub fn each(&self, mut visit: impl FnMut(&M, &[KeyValue])) {
        for list in &self.lists {
            let mut place = list;
            while let Some(member) = at(place) {
                visit(&member.metric, &member.attributes);
                place = &member.next;
            }
        }
    }

    /// The list of these attributes.
    fn list(&self, attributes: &[KeyValue]) -> &AtomicPtr<Member<M>> {
        let mut hasher = DefaultHasher::new();
        attributes.hash(&mut hasher);
        &self.lists[hasher.finish() as usize % LISTS]
    }
}

impl<M: Default> Family<M> {
    /// The member with these attributes.
    ///
    /// Not async-signal-safe: it allocates.
    pub fn get(&self, attributes: &[KeyValue]) -> &M {
        let found = self.find_or_add(&canonical(attributes), self.limit.saturating_sub(1));
        found.unwrap_or_else(|| {
            let others = [KeyValue::new("otel.metric.overflow", true)];
            self.find_or_add(&others, usize::MAX).expect("there is room for it always")
        })
    }

    /// `None` if there is no member with these attributes, but so many others.
    fn find_or_add(&self, attributes: &[KeyValue], limit: usize) -> Option<&M> {
        let mut place = self.list(attributes);
        while let Some(member) = at(place) {
            if member.attributes == attributes {
                return Some(&member.metric);
            }
            place = &member.next;
        }
        let one_more = |len: usize| (len < limit).then_some(len + 1);
        self.len.fetch_update(Relaxed, Relaxed, one_more).ok()?;
        let new = Box::into_raw(Box::new(Member {
            attributes: attributes.to_vec(),
            metric: M::default(),
            next: AtomicPtr::new(null_mut()),
        }));
        // Others may have come before.
        loop {
            match place.compare_exchange(null_mut(), new, AcqRel, Acquire) {
                // SAFETY: a member from now on, which stays until the family is dropped.
                Ok(_) => return Some(unsafe { &(*new).metric }),
                Err(_) => {
                    let member = at(place).expect("it isn't null, and never will be");
                    if member.attributes == attributes {
                        // SAFETY: made by `into_raw`, and nobody has seen it.
                        drop(unsafe { Box::from_raw(new) });
                        self.len.fetch_sub(1, Relaxed);
                        return Some(&member.metric);
                    }
                    place = &member.next;
                }
            }
        }
    }
}

/// The member at this place.
fn at<M>(place: &AtomicPtr<Member<M>>) -> Option<&Member<M>> {
    // SAFETY: null, or a member, which stays as it is until the family is dropped.
    unsafe { place.load(Acquire).as_ref() }
}

/// In the order of the keys; of equal ones the last.
fn canonical(attributes: &[KeyValue]) -> Cow<'_, [KeyValue]> {
    if attributes.is_sorted_by(|one, next| one.key < next.key) {
        return Cow::Borrowed(attributes);
    }
    let mut sorted: Vec<KeyValue> = attributes.iter().rev().cloned().collect();
    sorted.sort_by(|one, other| one.key.cmp(&other.key));
    sorted.dedup_by(|one, before| one.key == before.key);
    Cow::Owned(sorted)
}

impl<M> Drop for Family<M> {
    fn drop(&mut self) {
        for list in &mut self.lists {
            let mut next = *list.get_mut();
            while !next.is_null() {
                // SAFETY: made by `into_raw`, and in no other list.
                let mut member = unsafe { Box::from_raw(next) };
                next = *member.next.get_mut();
            }
        }
    }
}

impl<M> Default for Family<M> {
    fn default() -> Self {
        Self::new()
    }
}

impl<M> fmt::Debug for Family<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Family").field("len", &self.len()).finish_non_exhaustive()
    }
}
