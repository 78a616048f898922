//! The arithmetic of partly known numbers holds for each of their members.

use proptest::prelude::*;

use crate::{Arithmetic, BranchTest, NumberSet};

const OPERATIONS: [Arithmetic; 10] = [
    Arithmetic::Add,
    Arithmetic::Subtract,
    Arithmetic::Multiply,
    Arithmetic::Divide,
    Arithmetic::Modulo,
    Arithmetic::And,
    Arithmetic::Or,
    Arithmetic::Xor,
    Arithmetic::ShiftLeft,
    Arithmetic::ShiftRight,
];
const TESTS: [BranchTest; 4] =
    [BranchTest::Equal, BranchTest::Greater, BranchTest::GreaterOrEqual, BranchTest::AnyBit];

fn interesting() -> impl Strategy<Value = u32> {
    prop_oneof![
        any::<u32>(),
        0_u32..40,
        (0_u32..32).prop_map(|bit| 1 << bit),
        Just(u32::MAX),
        any::<u16>().prop_map(u32::from)
    ]
}

/// A set of numbers and one of its members.
fn member() -> impl Strategy<Value = (NumberSet, u32)> {
    let bits = (interesting(), interesting())
        .prop_map(|(member, unknown)| (NumberSet::of_bits(member, unknown), member));
    let interval = (interesting(), interesting(), interesting()).prop_map(|(member, below, above)| {
        (NumberSet::between(member.saturating_sub(below), member.saturating_add(above)), member)
    });
    let both = (interesting(), interesting(), interesting()).prop_map(|(member, unknown, above)| {
        let number =
            NumberSet::of_bits(member, unknown).clamp(0, member.saturating_add(above)).expect("the member");
        (number, member)
    });
    prop_oneof![bits, interval, both, interesting().prop_map(|member| (NumberSet::constant(member), member))]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn results_admit_the_results_of_members((a, x) in member(), (b, y) in member()) {
        prop_assert!(a.admits(x) && b.admits(y));
        for operation in OPERATIONS {
            let mut may_reject = false;
            match (a.compute(operation, b, &mut may_reject), operation.apply(x, y)) {
                (Some(set), Some(number)) => prop_assert!(set.admits(number), "{operation:?}: {set:?} without {number}"),
                (None, number) => prop_assert!(number.is_none()),
                (Some(_), None) => prop_assert!(may_reject),
            }
        }
        prop_assert!(a.negate().admits(x.wrapping_neg()));
    }

    #[test]
    fn tests_answer_for_all_members_and_refining_keeps_them((a, x) in member(), (b, y) in member()) {
        for test in TESTS {
            if let Some(answer) = a.test(test, b) {
                prop_assert_eq!(answer, test.holds(x, y), "{:?}", test);
            }
            let refined = a.refine(test, y, test.holds(x, y));
            prop_assert!(refined.is_some_and(|set| set.admits(x)), "{test:?} {refined:?}");
        }
        if let Some(common) = a.with_known_bits(y, x & y) {
            prop_assert!(common.admits(x));
        }
    }
}
