//! Labels of a conversation, as reported.

use std::borrow::Cow;
use std::collections::BTreeMap;

use netrewind_index::LabelKey;
use serde::{Deserialize, Serialize};

use crate::key::FlowKey;
use crate::label_texts::LabelTexts;
use crate::part::FlowCounters;
use crate::services;

/// Application and labels of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct FlowLabels {
    /// Protocol that the first bytes show, such as `tls`; else the usual protocol of the server's port.
    pub application: String,
    /// True if the port alone identifies it.
    pub guessed: bool,
    /// Other labels that the first bytes show, by key: `server_name`, `alpn`, `ja4`, `tls_version`, `http_method`, `http_host`,
    /// `http_user_agent`, `dns_question`, `dns_type`, `dns_answer`, `ssh_banner`, `quic_version`.
    #[serde(flatten)]
    pub others: BTreeMap<Cow<'static, str>, LabelValue>,
}

/// One text or several.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(untagged)]
pub enum LabelValue {
    /// One.
    One(String),
    /// Several, in their order.
    Several(Vec<String>),
}

impl LabelValue {
    /// The first text.
    pub fn first(&self) -> &str {
        match self {
            Self::One(text) => text,
            Self::Several(texts) => texts.first().map_or("", String::as_str),
        }
    }

    /// All values.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        let texts = match self {
            Self::One(text) => std::slice::from_ref(text),
            Self::Several(texts) => texts,
        };
        texts.iter().map(String::as_str)
    }

    fn push(&mut self, text: &str) {
        match self {
            Self::One(first) => *self = Self::Several(vec![std::mem::take(first), text.to_owned()]),
            Self::Several(texts) => texts.push(text.to_owned()),
        }
    }
}

impl FlowLabels {
    /// Labels of a conversation whose server has this port.
    pub fn of(key: &FlowKey, body: &FlowCounters, port: Option<u16>) -> Option<Self> {
        let guess = || services::name_of(key.protocol, port?);
        let Some(application) = application_of(body) else {
            let application = guess()?.to_owned();
            return Some(Self { application, guessed: true, others: BTreeMap::new() });
        };
        let mut labels =
            Self { application: application.to_owned(), guessed: false, others: BTreeMap::new() };
        for (key, text) in body.labels.iter().flat_map(|texts| texts.iter()) {
            if key != LabelKey::Application {
                let value = labels.others.get_mut(key.name());
                match value {
                    Some(value) => value.push(text),
                    None => _ = labels.others.insert(key.name().into(), LabelValue::One(text.to_owned())),
                }
            }
        }
        Some(labels)
    }

    /// Most telling name of the peer: of a server, host or question.
    pub fn name(&self) -> Option<&str> {
        let keys = [LabelKey::ServerName, LabelKey::HttpHost, LabelKey::DnsQuestion];
        keys.iter().find_map(|key| self.others.get(key.name())).map(LabelValue::first)
    }
}

/// Application that the first bytes of a conversation show.
pub fn application_of(body: &FlowCounters) -> Option<&str> {
    body.labels.as_deref().and_then(LabelTexts::application)
}
