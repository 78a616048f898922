//! The headers that stand between one view and the next, as a walk notes them.

use std::fmt;

use super::kind::{LayerKind, TunnelKind};
use super::window::Window;

/// Largest number of headers noted in one packet; beyond it nothing deeper is peeled.
pub const LAYERS_MAX: usize = 32;

/// A header between two views.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Layer {
    /// Kind of header.
    pub kind: LayerKind,
    /// View in which it stands: 0 is the stored packet.
    pub view: u8,
    /// Offset in the stored packet.
    pub offset: u16,
    /// Its length.
    pub bytes: u16,
}

impl Layer {
    const EMPTY: Self = Self { kind: LayerKind::Varying, view: 0, offset: 0, bytes: 0 };

    /// End of the header in the stored packet.
    pub fn end(&self) -> usize {
        usize::from(self.offset) + usize::from(self.bytes)
    }

    /// All of it in a word.
    #[inline]
    fn word(&self) -> u64 {
        let [offset, bytes] = [self.offset, self.bytes].map(u64::from);
        u64::from(self.kind.code()) | u64::from(self.view) << 8 | offset << 16 | bytes << 32
    }

    /// Clears those bits of `known`, which begins with the stored packet's first byte, that vary.
    pub fn clear_varying(&self, known: &mut [u8]) {
        let offset = usize::from(self.offset).min(known.len());
        let end = (offset + usize::from(self.bytes)).min(known.len());
        let header = &mut known[offset..end];
        let table = self.kind.varying_bits();
        let (named, rest) = header.split_at_mut(table.len().min(header.len()));
        named.iter_mut().zip(table).for_each(|(byte, varying)| *byte &= !varying);
        rest.fill(0);
    }
}

/// The headers of a packet that stand before its innermost network header, as far as they are tunnels or have bits that
/// vary.
#[derive(Clone)]
pub struct Layers {
    layers: [Layer; LAYERS_MAX],
    /// Each of them in a word.
    words: [u64; LAYERS_MAX],
    count: usize,
    /// The view that is walked.
    pub(crate) view: u8,
}

impl Default for Layers {
    #[inline]
    fn default() -> Self {
        Self { layers: [Layer::EMPTY; LAYERS_MAX], words: [0; LAYERS_MAX], count: 0, view: 0 }
    }
}

impl fmt::Debug for Layers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_slice().fmt(f)
    }
}

impl Layers {
    /// The headers, from the outermost.
    #[inline]
    pub fn as_slice(&self) -> &[Layer] {
        &self.layers[..self.count]
    }

    /// Each header in a word, all of it: cheaper to compare.
    #[inline]
    pub fn as_words(&self) -> &[u64] {
        &self.words[..self.count]
    }

    /// Forgets what came after the first `count`.
    #[inline]
    pub(crate) fn truncate(&mut self, count: usize) {
        self.count = self.count.min(count);
    }

    /// Notes a header; `None` where there is no room.
    #[inline]
    pub(crate) fn push(&mut self, kind: LayerKind, offset: usize, bytes: usize) -> Option<()> {
        let layer = Layer {
            kind,
            view: self.view,
            offset: u16::try_from(offset).ok()?,
            bytes: u16::try_from(bytes).ok()?,
        };
        *self.layers.get_mut(self.count)? = layer;
        self.words[self.count] = layer.word();
        self.count += 1;
        Some(())
    }

    /// Notes a tunnel's header at the beginning of `window`.
    #[inline]
    pub(crate) fn push_tunnel(&mut self, kind: TunnelKind, window: Window, bytes: usize) -> Option<()> {
        self.push(LayerKind::Tunnel(kind), window.at, bytes)
    }
}

/// Notes a field that varies, and skips it.
pub(super) fn skip_varying<'a>(layers: &mut Layers, window: Window<'a>, bytes: usize) -> Option<Window<'a>> {
    layers.push(LayerKind::Varying, window.at, bytes)?;
    window.skip(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_behind_a_table_vary() {
        let mut known = [0xff; 32];
        Layer { kind: LayerKind::Ipv4, view: 0, offset: 2, bytes: 24 }.clear_varying(&mut known);
        assert_eq!(known[..2], [0xff; 2]);
        assert_eq!(known[2..14], [0xff, 0, 0, 0, 0, 0, 0x1f, 0xff, 0, 0xff, 0, 0]);
        assert_eq!(known[14..22], [0xff; 8]);
        assert_eq!(known[22..26], [0; 4]);
        assert_eq!(known[26..], [0xff; 6]);
    }
}
