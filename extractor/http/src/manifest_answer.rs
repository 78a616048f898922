//! `/api/v1/manifests/{name}`: manifests of answers that were sent.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderValue, header};
use netrewind_cases::{EvidenceManifest, EvidenceSource, FileHash};
use netrewind_extractor::{Answer, Extractor, Query, Work};

use crate::fields::bad_value;
use crate::identity::Identity;
use crate::manifest_name::ManifestName;
use crate::manifests::MadeManifest;
use crate::problem::{Kind, Problem};
use crate::request::fields_of;
use crate::service::Service;

/// Endings of the names of manifests and of their signatures, behind the name of the file.
const MANIFEST_ENDING: &str = ".manifest.json";
const SIGNATURE_ENDING: &str = ".sig";

/// Writes the manifest of an answer to this caller.
pub fn made_manifest(
    service: &Service,
    identity: &Identity,
    (file, hash): (&str, FileHash),
    (extractor, query, answer): (&Extractor, &Query, &Answer),
) -> MadeManifest {
    let Service { clock, signer, .. } = service;
    let (mut answer, mut asked) = (answer.clone(), query.clone());
    let is_restricted = identity.filter.is_some();
    if is_restricted {
        // Neither the filter of a token nor packets that it hides are told.
        answer.work = Work::default();
        asked.joined.clear();
    }
    let source = EvidenceSource::from(extractor.store());
    let made = clock.now().wall;
    let mut manifest = EvidenceManifest::of(file, hash, made, source, (&asked, &answer), signer.as_deref());
    if let (true, Some(members)) = (is_restricted, manifest.query.as_object_mut()) {
        members.insert("restricted_by_token".to_owned(), true.into());
    }
    let text = manifest.text();
    let signature = signer.as_ref().map(|signer| Bytes::from(signer.sign(text.as_bytes())));
    MadeManifest { file: file.to_owned(), text: text.into(), signature }
}

/// Manifest of an answer
///
/// Of one that was asked for with `manifest={name}` and the same token: its SHA-256, the query and its completeness, as
/// `extract --manifest` writes them. Waits some seconds for the end of the answer; kept for ten minutes.
#[utoipa::path(get, path = "/api/v1/manifests/{name}", tag = "packets",
    params(("name" = String, Path, description = "The name that was given with `manifest`")), responses(
    (status = 200, description = "The manifest", body = serde_json::Value)
))]
pub async fn get_manifest(
    State(service): State<Arc<Service>>,
    Extension(identity): Extension<Identity>,
    Path(name): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let made = made(&service, &identity, &name, request).await?;
    let is_signed = made.signature.is_some();
    let name = format!("{}{MANIFEST_ENDING}", made.file);
    let mut response = file(&name, "application/json", made.text);
    let signed = HeaderValue::from_static(if is_signed { "true" } else { "false" });
    response.headers_mut().insert("netrewind-signed", signed);
    Ok(response)
}

/// Signature of a manifest
///
/// 64 bytes: Ed25519 of the manifest as it was sent. Services without a key (`--sign`) have none.
#[utoipa::path(get, path = "/api/v1/manifests/{name}/signature", tag = "packets",
    params(("name" = String, Path, description = "The name that was given with `manifest`")), responses(
    (status = 200, description = "The signature", body = Vec<u8>, content_type = "application/octet-stream")
))]
pub async fn get_signature(
    State(service): State<Arc<Service>>,
    Extension(identity): Extension<Identity>,
    Path(name): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let made = made(&service, &identity, &name, request).await?;
    let detail = "the service has no key to sign manifests with: --sign KEY.pem gives it one";
    let signature = made.signature.ok_or_else(|| Problem::new(Kind::NotFound, detail))?;
    let name = format!("{}{MANIFEST_ENDING}{SIGNATURE_ENDING}", made.file);
    Ok(file(&name, "application/octet-stream", signature))
}

async fn made(
    service: &Arc<Service>,
    identity: &Identity,
    name: &str,
    request: Request,
) -> Result<MadeManifest, Problem> {
    fields_of(request, service).await?.end()?;
    let name =
        ManifestName::read(name).ok_or_else(|| bad_value("manifest", name, "the name of a manifest"))?;
    service.manifests.made(&identity.name, &name).await
}

fn file(name: &str, media_type: &'static str, bytes: Bytes) -> Response {
    let headers = [(header::CONTENT_TYPE, media_type), (header::CACHE_CONTROL, "no-store")];
    let mut response = (headers, bytes).into_response();
    if let Ok(disposition) = HeaderValue::from_str(&format!("attachment; filename=\"{name}\"")) {
        response.headers_mut().insert(header::CONTENT_DISPOSITION, disposition);
    }
    response
}
