//! Whether operations that overlapped can have happened one after another, each at one moment between its beginning and its
//! end: Wing and Gong's search with Lowe's memory of what was tried, as Porcupine has it.

use std::collections::BTreeSet;

/// Operations that overlap: more are not judged.
const MOST: usize = 64;
/// Places that a search looks at: more are not judged.
const LOOKS: usize = 100_000;

/// An operation on something.
#[derive(Debug, Clone)]
#[allow(clippy::struct_field_names)] // the field is what the word means
pub struct Op<O> {
    /// Began.
    pub call: u64,
    /// Ended, or cannot have had its effect any later.
    pub ret: u64,
    /// It surely happened; else it may have had no effect.
    pub sure: bool,
    /// Record of its end, or of its beginning.
    pub record: u64,
    /// What it was, with its answer.
    pub op: O,
}

/// What is operated on.
pub trait Object {
    /// What it is like.
    type State: Clone + Ord;
    /// An operation with its answer.
    type Op;
    /// What it may be like after `op` gave its answer on `state`; nothing where it cannot have given it.
    fn step(&self, state: &Self::State, op: &Self::Op) -> Vec<Self::State>;
}

/// The first operation, by the time of its end, that fits into no order with those that ended before it. `None` where there
/// is an order, and where there is too much to look at.
pub fn first_misfit<'o, T: Object>(object: &T, start: T::State, ops: &'o [Op<T::Op>]) -> Option<&'o Op<T::Op>> {
    let mut all: Vec<&Op<T::Op>> = ops.iter().collect();
    all.sort_by_key(|op| (op.call, op.ret));
    let mut states = BTreeSet::from([start]);
    let mut rest = all.as_slice();
    while !rest.is_empty() {
        // Between two of these parts nothing is under way.
        let mut until = rest[0].ret;
        let length = rest
            .iter()
            .take_while(|op| {
                op.call <= until && {
                    until = until.max(op.ret);
                    true
                }
            })
            .count();
        let (part, later) = rest.split_at(length);
        let after = orders(object, &states, part, u64::MAX)?;
        if after.is_empty() {
            let mut ends: Vec<&Op<T::Op>> = part.iter().copied().filter(|op| op.sure).collect();
            ends.sort_by_key(|op| op.ret);
            return ends.into_iter().find(|op| orders(object, &states, part, op.ret).is_some_and(|s| s.is_empty()));
        }
        (states, rest) = (after, later);
    }
    None
}

/// States after all orders of those that ended by `until`; others that began before may have happened. `None`: too many.
fn orders<T: Object>(
    object: &T,
    starts: &BTreeSet<T::State>,
    ops: &[&Op<T::Op>],
    until: u64,
) -> Option<BTreeSet<T::State>> {
    if ops.len() > MOST {
        return None;
    }
    let is_due = |op: &Op<T::Op>| op.sure && op.ret <= until;
    let mut seen: BTreeSet<(u64, T::State)> = starts.iter().map(|s| (0, s.clone())).collect();
    let mut stack: Vec<(u64, T::State)> = seen.iter().cloned().collect();
    let mut ends = BTreeSet::new();
    while let Some((done, state)) = stack.pop() {
        let open = |n: &usize| done & (1 << n) == 0;
        let first_end = (0..ops.len()).filter(open).filter(|n| is_due(ops[*n])).map(|n| ops[n].ret).min();
        if first_end.is_none() {
            ends.insert(state.clone());
        }
        // Nothing that began after another had ended comes before it.
        let next = (0..ops.len()).filter(open).filter(|n| ops[*n].call <= first_end.unwrap_or(until).min(until));
        for n in next {
            for after in object.step(&state, &ops[n].op) {
                let place = (done | 1 << n, after);
                if seen.insert(place.clone()) {
                    stack.push(place);
                }
            }
        }
        if seen.len() > LOOKS {
            return None;
        }
    }
    Some(ends)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A number that is written and read.
    struct Register;

    #[derive(Debug, Clone)]
    enum Does {
        Write(u8),
        Read(u8),
    }

    impl Object for Register {
        type State = u8;
        type Op = Does;
        fn step(&self, state: &u8, op: &Does) -> Vec<u8> {
            match op {
                Does::Write(n) => vec![*n],
                Does::Read(n) if n == state => vec![*state],
                Does::Read(_) => vec![],
            }
        }
    }

    fn misfit(ops: &[(u64, u64, Does)]) -> Option<usize> {
        let of = |(n, (call, ret, op)): (usize, &(u64, u64, Does))| Op {
            call: *call,
            ret: *ret,
            sure: true,
            record: n as u64,
            op: op.clone(),
        };
        let ops: Vec<Op<Does>> = ops.iter().enumerate().map(of).collect();
        first_misfit(&Register, 0, &ops).map(|op| op.record as usize)
    }

    #[test]
    fn overlapping_reads_see_one_order() {
        use Does::{Read, Write};
        assert_eq!(misfit(&[(1, 9, Write(1)), (2, 3, Read(0)), (4, 5, Read(1)), (6, 7, Read(1))]), None);
        // Once it was seen it does not go away again.
        assert_eq!(misfit(&[(1, 9, Write(1)), (2, 3, Read(1)), (4, 5, Read(0))]), Some(2));
        assert_eq!(misfit(&[(1, 2, Write(1)), (3, 4, Read(0)), (5, 6, Read(1))]), Some(1));
        assert_eq!(misfit(&[(1, 4, Write(1)), (1, 4, Write(2)), (5, 6, Read(1)), (7, 8, Read(1))]), None);
        assert_eq!(misfit(&[(1, 4, Write(1)), (1, 4, Write(2)), (5, 6, Read(1)), (7, 8, Read(2))]), Some(3));
    }

    #[test]
    fn what_may_not_have_happened_needs_no_place() {
        let write = |ret, sure| Op { call: 1, ret, sure, record: 0, op: Does::Write(1) };
        let read = |call, n| Op { call, ret: call + 1, sure: true, record: call, op: Does::Read(n) };
        let first = |ops: &[Op<Does>]| first_misfit(&Register, 0, ops).map(|op| op.record);
        assert_eq!(first(&[write(9, false), read(2, 0), read(20, 0)]), None);
        assert_eq!(first(&[write(9, false), read(2, 0), read(20, 1)]), None);
        assert_eq!(first(&[write(9, true), read(2, 0), read(20, 0)]), Some(20));
        assert_eq!(first(&[write(9, false), read(2, 1), read(20, 0)]), Some(20));
    }

    #[test]
    fn many_one_after_another_are_judged_and_too_many_at_once_are_not() {
        let write = |n: u64| Op { call: 2 * n, ret: 2 * n + 1, sure: true, record: n, op: Does::Write((n % 7) as u8) };
        let mut ops: Vec<Op<Does>> = (0..500).map(write).collect();
        assert!(first_misfit(&Register, 0, &ops).is_none());
        ops.push(Op { call: 2000, ret: 2001, sure: true, record: 999, op: Does::Read(6) });
        assert_eq!(first_misfit(&Register, 0, &ops).map(|op| op.record), Some(999));
        for op in &mut ops {
            op.call = 0;
        }
        assert!(first_misfit(&Register, 0, &ops).is_none());
    }
}
