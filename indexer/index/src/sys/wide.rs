//! Work compiled once more for machines with wider and better instructions, which is chosen where the machine has them.
//!
//! **Obligation:** a function for certain instructions runs only after the machine was asked for all of them.

/// Does `work` with these instructions, as far as it is inlined into this.
#[inline]
pub(crate) fn with_wide_instructions<T>(work: impl FnOnce() -> T) -> T {
    #[cfg(target_arch = "x86_64")]
    if has_wide_instructions() {
        // SAFETY: all that it needs is there.
        return unsafe { wide(work) };
    }
    work()
}

#[cfg(target_arch = "x86_64")]
#[inline]
fn has_wide_instructions() -> bool {
    use std::is_x86_feature_detected as has;
    has!("avx2") && has!("bmi1") && has!("bmi2") && has!("lzcnt") && has!("movbe") && has!("popcnt")
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,movbe,popcnt")]
fn wide<T>(work: impl FnOnce() -> T) -> T {
    work()
}
