//! What this program is: version, commit, parts that a build may lack, and the libpcap beside it.

use std::sync::LazyLock;

use netrewind_filter::libpcap_version;
use netrewind_http::has_page;
use netrewind_http::metrics::BuildFacts;

const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The commit, by the build script `src/build.rs`.
const COMMIT: &str = env!("NETREWIND_BUILD_COMMIT");

/// What libpcap puts before its version.
const LIBPCAP_PREFIX: &str = "libpcap version ";

/// Facts of the build.
pub fn facts() -> BuildFacts {
    let libpcap = libpcap_version();
    let number = libpcap.strip_prefix(LIBPCAP_PREFIX).unwrap_or(&libpcap);
    BuildFacts {
        version: VERSION.to_owned(),
        commit: COMMIT.to_owned(),
        features: if has_page() { "page" } else { "no-page" }.to_owned(),
        libpcap: number.split([' ', ',']).next().unwrap_or_default().to_owned(),
    }
}

/// The answer to `--version`, behind the name.
pub fn described() -> &'static str {
    static TEXT: LazyLock<String> = LazyLock::new(|| {
        let BuildFacts { version, commit, features, .. } = facts();
        format!("{version}\ncommit {commit}\nfeatures: {features}\n{}", libpcap_version())
    });
    &TEXT
}
