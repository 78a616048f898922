//! Texts of a conversation's labels.

use std::sync::Arc;

use netrewind_index::{IndexError, LabelKey, Observation, Observations};

/// The labels of a conversation.
#[derive(Debug, PartialEq, Eq)]
pub struct LabelTexts {
    text: Box<str>,
    /// End of each text; it begins at the end of the one before.
    ends: Box<[(LabelKey, u32)]>,
}

impl LabelTexts {
    /// Texts of the labels of an observation.
    pub fn read(rows: &mut Observations<'_>, row: &Observation) -> Result<Arc<Self>, IndexError> {
        let (mut all, mut ends) = (String::new(), Vec::new());
        rows.visit_labels(row, |key, text| {
            all.push_str(text);
            ends.push((key, u32::try_from(all.len()).unwrap_or(u32::MAX)));
        })?;
        Ok(Arc::new(Self { text: all.into(), ends: ends.into() }))
    }

    /// Texts of these labels.
    pub fn of(labels: &[(LabelKey, &str)]) -> Arc<Self> {
        let (mut all, mut ends) = (String::new(), Vec::new());
        for &(key, text) in labels {
            all.push_str(text);
            ends.push((key, u32::try_from(all.len()).unwrap_or(u32::MAX)));
        }
        Arc::new(Self { text: all.into(), ends: ends.into() })
    }

    /// Memory in bytes that they take, about: three allocations.
    pub fn bytes(&self) -> usize {
        const EACH: usize = 3 * 16;
        EACH + size_of::<Self>() + self.text.len() + size_of_val(&*self.ends)
    }

    /// Key and text of each.
    pub fn iter(&self) -> impl Iterator<Item = (LabelKey, &str)> {
        let mut from = 0;
        self.ends.iter().map(move |&(key, end)| {
            let to = end as usize;
            (key, self.text.get(std::mem::replace(&mut from, to)..to).unwrap_or_default())
        })
    }

    /// Application that was recognised.
    pub fn application(&self) -> Option<&str> {
        self.iter().find(|(key, _)| *key == LabelKey::Application).map(|(_, text)| text)
    }
}
