//! Ids that are passed on as text.

/// Serde's `try_from` and `into` for a type that is displayed as text and parsed from it.
macro_rules! as_text {
    ($id:ty, $error:ty) => {
        impl TryFrom<String> for $id {
            type Error = $error;
            fn try_from(text: String) -> Result<Self, $error> {
                text.parse()
            }
        }

        impl From<$id> for String {
            fn from(id: $id) -> Self {
                id.to_string()
            }
        }
    };
}

pub(super) use as_text;
