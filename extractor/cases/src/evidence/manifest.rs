//! The manifest of an answer: what its file was when it was written, what was asked, and how complete the answer is.

use netrewind_extractor::{Answer, Query};
use netrewind_store::hold::CaseName;
use netrewind_store::{Store, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use xxhash_rust::xxh3::xxh3_64;

use super::hash::FileHash;
use super::keys::{PublicKey, SignerKey};

/// Version of the manifests that this version of netrewind writes.
pub const MANIFEST_VERSION: u32 = 1;
/// Algorithm of signatures.
const ALGORITHM: &str = "Ed25519";

/// Text before and after the checksum, which is the last member: XXH3 (64 bits) of all that comes before.
const CHECKSUM: &str = ",\n  \"checksum\": \"";
const CHECKSUM_END: &str = "\"\n}\n";
const CHECKSUM_DIGITS: usize = 16;

/// Manifest of an answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EvidenceManifest {
    /// See [`MANIFEST_VERSION`].
    pub manifest_version: u32,
    /// The file, without its folder.
    pub file: String,
    /// Its length and hash.
    #[serde(flatten)]
    pub hash: FileHash,
    /// Time at which it was written.
    pub made: Timestamp,
    /// Program that wrote it, and its version.
    pub made_by: String,
    /// Where the packets come from.
    pub source: EvidenceSource,
    /// The case that they were extracted for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub case: Option<CaseFacts>,
    /// The question: range, filter and options.
    pub query: Value,
    /// Bytes kept of each packet, if its packets were cut when the file was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snaplen: Option<u32>,
    /// True if the answer lacks nothing.
    pub is_complete: bool,
    /// Its completeness in words.
    pub completeness: Vec<String>,
    /// The account of the answer, as `extract --json` prints it.
    pub answer: Value,
    /// The key that the manifest is signed with, if it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed_by: Option<SignerFacts>,
}

/// Origin of an answer's packets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EvidenceSource {
    /// A store.
    Store {
        /// Its id.
        id: String,
        /// Its folder.
        folder: String,
    },
    /// Recorders, by their URLs.
    Recorders(Vec<String>),
}

impl From<&Store> for EvidenceSource {
    fn from(store: &Store) -> Self {
        Self::Store { id: store.identity().id.clone(), folder: store.root().display().to_string() }
    }
}

/// The case of a manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaseFacts {
    /// Its name.
    pub name: CaseName,
    /// Name of who made it.
    pub by: String,
    /// The reason, in words.
    pub note: String,
}

/// The key of a signature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignerFacts {
    /// Algorithm of the signature.
    pub algorithm: String,
    /// The public key, in hexadecimal.
    pub public_key: String,
    /// SHA-256 of its SubjectPublicKeyInfo.
    pub fingerprint: String,
}

impl From<&SignerKey> for SignerFacts {
    fn from(key: &SignerKey) -> Self {
        let public = key.public();
        Self {
            algorithm: ALGORITHM.to_owned(),
            public_key: public.to_hexadecimal(),
            fingerprint: public.fingerprint(),
        }
    }
}

impl SignerFacts {
    /// The key, if it is one that signatures can be checked with.
    pub fn key(&self) -> Option<PublicKey> {
        if self.algorithm == ALGORITHM { PublicKey::from_hexadecimal(&self.public_key) } else { None }
    }
}

impl EvidenceManifest {
    /// Of an answer that was written to a file.
    pub fn of(
        file: &str,
        hash: FileHash,
        made: Timestamp,
        source: EvidenceSource,
        (query, answer): (&Query, &Answer),
        signer: Option<&SignerKey>,
    ) -> Self {
        Self {
            manifest_version: MANIFEST_VERSION,
            file: file.to_owned(),
            hash,
            made,
            made_by: concat!("netrewind ", env!("CARGO_PKG_VERSION")).to_owned(),
            source,
            case: None,
            query: question(query),
            snaplen: None,
            is_complete: answer.completeness.is_complete(),
            completeness: answer.completeness.lines(),
            answer: serde_json::to_value(answer).unwrap_or_default(),
            signed_by: signer.map(SignerFacts::from),
        }
    }

    /// The manifest as it is written, with its checksum.
    pub fn text(&self) -> String {
        // It has no maps and no numbers that JSON does not know.
        let text = serde_json::to_string_pretty(self).unwrap_or_default();
        let body = text.strip_suffix("\n}").unwrap_or(&text);
        format!("{body}{CHECKSUM}{:016x}{CHECKSUM_END}", xxh3_64(body.as_bytes()))
    }

    /// Reads it; the error says what is wrong, in words.
    pub fn read(text: &[u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(text).map_err(|_| "it is not text".to_owned())?;
        let covered = || {
            let rest = text.strip_suffix(CHECKSUM_END)?;
            let (rest, digits) = rest.split_at_checked(rest.len().checked_sub(CHECKSUM_DIGITS)?)?;
            Some((rest.strip_suffix(CHECKSUM)?, digits))
        };
        let (body, digits) =
            covered().ok_or("it is not a manifest as netrewind writes it, or has been changed")?;
        if format!("{:016x}", xxh3_64(body.as_bytes())) != digits {
            return Err("its checksum is wrong: it has been changed".to_owned());
        }
        let manifest: Self = serde_json::from_str(text).map_err(|error| {
            format!("line {}: it is not a manifest that this netrewind reads", error.line())
        })?;
        match manifest.manifest_version {
            MANIFEST_VERSION => Ok(manifest),
            other => Err(format!("it has version {other}, and this netrewind reads {MANIFEST_VERSION}")),
        }
    }
}

/// The query, with the filters that were joined to it.
fn question(query: &Query) -> Value {
    let mut question = serde_json::to_value(query).unwrap_or_default();
    if let (Value::Object(members), false) = (&mut question, query.joined.is_empty()) {
        let joined = query.joined.iter().map(
            |joined| json!({"filter": joined.filter, "view": joined.view, "ignore_vlan": joined.ignore_vlan}),
        );
        members.insert("joined".to_owned(), joined.collect());
    }
    question
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_comes_back_and_every_flipped_bit_of_it_is_noticed() {
        let hash = FileHash { bytes: 24, sha256: "00".repeat(32) };
        let source = EvidenceSource::Store { id: "a1".into(), folder: "/data/nr".into() };
        let query = Query::of("port 53");
        let answer = Answer { packets: 3, ..Answer::default() };
        let made = Timestamp::new(1_795_339_861, 5);
        let mut manifest = EvidenceManifest::of("x.pcap", hash, made, source, (&query, &answer), None);
        manifest.case =
            Some(CaseFacts { name: "INC-1".parse().unwrap(), by: "me".into(), note: String::new() });
        let text = manifest.text().into_bytes();
        assert_eq!(EvidenceManifest::read(&text).unwrap(), manifest);
        let value: Value = serde_json::from_slice(&text).unwrap();
        assert_eq!((&value["query"]["filter"], &value["answer"]["packets"]), (&json!("port 53"), &json!(3)));
        for bit in 0..text.len() * 8 {
            let mut changed = text.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(EvidenceManifest::read(&changed).is_err(), "bit {bit}");
        }
    }
}
