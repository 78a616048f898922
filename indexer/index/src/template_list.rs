//! The section of templates.

use netrewind_store::LinkType;

use crate::column::{put_varint, take, take_varint};
use crate::template::Template;
use netrewind_packet::tunnel::{Layer, LayerKind};
use netrewind_packet::{PREFIX_BYTES_MAX, Shape, TransportKey, VIEWS_MAX, View};

mod tag {
    pub const NONE: u8 = 0;
    pub const IPV4: u8 = 1;
    pub const IPV6: u8 = 2;
    /// Added to the transport key's number.
    pub const LATER_FRAGMENT: u8 = 0x80;
}

/// The bytes of the section.
pub(crate) fn put<'a>(templates: impl Iterator<Item = &'a Template>) -> Vec<u8> {
    let mut bytes = Vec::new();
    templates.for_each(|template| put_template(&mut bytes, template));
    bytes
}

fn put_template(bytes: &mut Vec<u8>, template: &Template) {
    put_varint(bytes, template.prefix.len() as u64);
    bytes.extend_from_slice(&template.prefix);
    let is_known_whole = template.known.iter().all(|&known| known == 0xff);
    bytes.push(u8::from(!is_known_whole));
    if !is_known_whole {
        bytes.extend_from_slice(&template.known);
    }
    bytes.push(template.views.len() as u8);
    for view in &template.views {
        put_varint(bytes, u64::from(view.offset));
        put_varint(bytes, u64::from(view.link_type.0));
    }
    bytes.push(template.layers.len() as u8);
    for layer in &template.layers {
        bytes.extend([layer.kind.number(), layer.view]);
        put_varint(bytes, u64::from(layer.offset));
        put_varint(bytes, u64::from(layer.bytes));
    }
    let key_byte = |key: TransportKey, later_fragment: bool| {
        key as u8 | if later_fragment { tag::LATER_FRAGMENT } else { 0 }
    };
    match template.shape {
        Shape::None => bytes.push(tag::NONE),
        Shape::Ipv4 { first_byte, protocol, later_fragment, key } => {
            bytes.extend([tag::IPV4, first_byte, protocol, key_byte(key, later_fragment)]);
        }
        Shape::Ipv6 { next_header, transport, protocol, later_fragment, key } => {
            bytes.extend([tag::IPV6, next_header]);
            bytes.extend(transport.to_le_bytes());
            bytes.extend([protocol, key_byte(key, later_fragment)]);
        }
    }
}

/// Reads the section; `None` where it is not one.
pub(crate) fn take_all(mut bytes: &[u8], count: u32) -> Option<Vec<Template>> {
    let templates = (0..count).map(|_| take_template(&mut bytes)).collect::<Option<_>>()?;
    bytes.is_empty().then_some(templates)
}

fn take_byte(input: &mut &[u8]) -> Option<u8> {
    take(input, 1)?.first().copied()
}

fn take_template(input: &mut &[u8]) -> Option<Template> {
    let prefix_bytes = take_varint(input).filter(|&count| count <= PREFIX_BYTES_MAX as u64)? as usize;
    let prefix = take(input, prefix_bytes)?.to_vec();
    let known = match take_byte(input)? {
        0 => vec![0xff; prefix_bytes],
        _ => take(input, prefix_bytes)?.to_vec(),
    };
    let views = (0..take_byte(input)?).map(|_| take_view(input)).collect::<Option<Vec<View>>>()?;
    if views.is_empty() || views.len() > VIEWS_MAX {
        return None;
    }
    let layers = (0..take_byte(input)?).map(|_| take_layer(input)).collect::<Option<Vec<Layer>>>()?;
    if layers.iter().any(|layer| usize::from(layer.view) >= views.len()) {
        return None;
    }
    Some(Template { prefix, known, views, layers, shape: take_shape(input)? })
}

fn take_view(input: &mut &[u8]) -> Option<View> {
    let offset = u16::try_from(take_varint(input)?).ok()?;
    let link_type = LinkType(u16::try_from(take_varint(input)?).ok()?);
    Some(View { offset, link_type })
}

fn take_layer(input: &mut &[u8]) -> Option<Layer> {
    let kind = LayerKind::from_number(take_byte(input)?)?;
    let view = take_byte(input)?;
    let offset = u16::try_from(take_varint(input)?).ok()?;
    let bytes = u16::try_from(take_varint(input)?).ok()?;
    Some(Layer { kind, view, offset, bytes })
}

fn take_key(input: &mut &[u8]) -> Option<(TransportKey, bool)> {
    let byte = take_byte(input)?;
    let key = [TransportKey::None, TransportKey::Ports, TransportKey::TypeAndCode]
        .into_iter()
        .find(|&key| key as u8 == byte & !tag::LATER_FRAGMENT)?;
    Some((key, byte & tag::LATER_FRAGMENT != 0))
}

fn take_shape(input: &mut &[u8]) -> Option<Shape> {
    match take_byte(input)? {
        tag::NONE => Some(Shape::None),
        tag::IPV4 => {
            let (first_byte, protocol) = (take_byte(input)?, take_byte(input)?);
            let (key, later_fragment) = take_key(input)?;
            Some(Shape::Ipv4 { first_byte, protocol, later_fragment, key })
        }
        tag::IPV6 => {
            let next_header = take_byte(input)?;
            let transport = u16::from_le_bytes(take(input, 2)?.try_into().ok()?);
            let protocol = take_byte(input)?;
            let (key, later_fragment) = take_key(input)?;
            Some(Shape::Ipv6 { next_header, transport, protocol, later_fragment, key })
        }
        _ => None,
    }
}
