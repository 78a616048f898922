//! The files and folders, what has changed in them, and what of it is durable.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Component, Path};

use netrewind_store::files::{FileIdentity, FileKind, FileStatus};

use super::fault::ENOSPC;
use super::file_bytes::FileBytes;

/// The unit in which files take space.
const BLOCK_BYTES: u64 = 4096;
const FOLDER_MODE: u32 = 0o040_755;
const FILE_MODE: u32 = 0o100_644;
/// The one device of a file system.
const DEVICE: u64 = 1;
const ROOT: NodeId = NodeId(1);

/// Number of a file or folder, whatever its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct NodeId(u64);

/// Names that change together: each leads to another file from then on, or to none.
type NameChange = Vec<(String, Option<NodeId>)>;

#[derive(Clone, Debug)]
pub(super) enum Contents {
    File(FileBytes),
    Folder { names: BTreeMap<String, NodeId>, durable: BTreeMap<String, NodeId>, unsynced: Vec<NameChange> },
}

#[derive(Clone, Debug)]
pub(super) struct Node {
    pub contents: Contents,
    pub mode: u32,
    pub group: u32,
    pub modified_ns: i64,
    /// Names that lead to it.
    links: u64,
    /// Handles that have it open.
    handles: u64,
    /// The handles that have it locked; more than one if they share it.
    pub locked_by: BTreeSet<u64>,
    pub is_lock_shared: bool,
}

impl Node {
    fn new(contents: Contents, modified_ns: i64) -> Self {
        let mode = if matches!(contents, Contents::File(_)) { FILE_MODE } else { FOLDER_MODE };
        Self {
            contents,
            mode,
            group: 0,
            modified_ns,
            links: 0,
            handles: 0,
            locked_by: BTreeSet::new(),
            is_lock_shared: false,
        }
    }

    fn folder(modified_ns: i64) -> Self {
        let (names, durable) = (BTreeMap::new(), BTreeMap::new());
        Self::new(Contents::Folder { names, durable, unsynced: Vec::new() }, modified_ns)
    }

    fn bytes(&self) -> u64 {
        match &self.contents {
            Contents::File(file) => file.bytes().len() as u64,
            Contents::Folder { .. } => 0,
        }
    }

    fn disk_bytes(&self) -> u64 {
        self.bytes().next_multiple_of(BLOCK_BYTES)
    }

    fn sync(&mut self) {
        match &mut self.contents {
            Contents::File(file) => file.sync(),
            Contents::Folder { names, durable, unsynced } => {
                durable.clone_from(names);
                unsynced.clear();
            }
        }
    }
}

/// Every file and folder, by its number.
#[derive(Debug)]
pub(super) struct FileTree {
    nodes: BTreeMap<NodeId, Node>,
    next: u64,
    used_bytes: u64,
    pub capacity_bytes: u64,
    pub time_ns: i64,
}

impl Default for FileTree {
    fn default() -> Self {
        let mut root = Node::folder(0);
        root.links = 1;
        let nodes = BTreeMap::from([(ROOT, root)]);
        Self { nodes, next: ROOT.0 + 1, used_bytes: 0, capacity_bytes: u64::MAX, time_ns: 0 }
    }
}

fn missing() -> io::Error {
    io::ErrorKind::NotFound.into()
}

impl FileTree {
    pub fn used_bytes(&self) -> u64 {
        self.used_bytes
    }

    pub fn node(&self, node: NodeId) -> io::Result<&Node> {
        self.nodes.get(&node).ok_or_else(missing)
    }

    pub fn node_mut(&mut self, node: NodeId) -> io::Result<&mut Node> {
        self.nodes.get_mut(&node).ok_or_else(missing)
    }

    fn folder(&self, node: NodeId) -> io::Result<&BTreeMap<String, NodeId>> {
        match &self.node(node)?.contents {
            Contents::Folder { names, .. } => Ok(names),
            Contents::File(_) => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    pub fn find(&self, path: &Path) -> io::Result<NodeId> {
        let mut at = ROOT;
        for part in path.components() {
            if let Component::Normal(name) = part {
                let name = name.to_str().ok_or_else(missing)?;
                at = *self.folder(at)?.get(name).ok_or_else(missing)?;
            }
        }
        Ok(at)
    }

    /// The file that has a name in a folder.
    pub fn find_in(&self, folder: NodeId, name: &str) -> io::Result<NodeId> {
        self.folder(folder)?.get(name).copied().ok_or_else(missing)
    }

    /// The folder of a path, and the name in it.
    fn place(&self, path: &Path) -> io::Result<(NodeId, String)> {
        let name = path.file_name().and_then(|name| name.to_str()).ok_or(io::ErrorKind::InvalidInput)?;
        let folder = self.find(path.parent().ok_or(io::ErrorKind::InvalidInput)?)?;
        self.folder(folder)?;
        Ok((folder, name.to_owned()))
    }

    pub fn status(&self, id: NodeId) -> io::Result<FileStatus> {
        let node = self.node(id)?;
        let kind = match node.contents {
            Contents::File(_) => FileKind::File,
            Contents::Folder { .. } => FileKind::Folder,
        };
        Ok(FileStatus {
            kind,
            identity: FileIdentity { device: DEVICE, inode: id.0 },
            bytes: node.bytes(),
            disk_bytes: node.disk_bytes(),
            names: node.links,
            modified_ns: node.modified_ns,
            changed_ns: node.modified_ns,
            mode: node.mode,
            group: node.group,
        })
    }

    pub fn names(&self, folder: &Path) -> io::Result<Vec<String>> {
        Ok(self.folder(self.find(folder)?)?.keys().cloned().collect())
    }

    fn stamp(&mut self) -> i64 {
        self.time_ns += 1;
        self.time_ns
    }

    /// Lets names of a folder lead elsewhere, all at once.
    fn change(&mut self, folder: NodeId, change: NameChange) -> io::Result<()> {
        let modified_ns = self.stamp();
        let node = self.node_mut(folder)?;
        node.modified_ns = modified_ns;
        let Contents::Folder { names, unsynced, .. } = &mut node.contents else {
            return Err(io::ErrorKind::NotADirectory.into());
        };
        let mut left = Vec::new();
        for (name, target) in &change {
            left.extend(match target {
                Some(target) => names.insert(name.clone(), *target),
                None => names.remove(name),
            });
        }
        unsynced.push(change.clone());
        for target in change.into_iter().filter_map(|(_, target)| target) {
            self.node_mut(target)?.links += 1;
        }
        for node in left {
            self.node_mut(node)?.links -= 1;
            self.release(node);
        }
        Ok(())
    }

    /// Frees the space of a file that nobody can reach any more. A power cut may bring it back.
    fn release(&mut self, id: NodeId) {
        if let Some(node) = self.nodes.get(&id).filter(|node| node.links == 0 && node.handles == 0) {
            self.used_bytes -= node.disk_bytes();
        }
    }

    fn create(&mut self, path: &Path, node: Node) -> io::Result<NodeId> {
        let (folder, name) = self.place(path)?;
        if self.folder(folder)?.contains_key(&name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let id = NodeId(self.next);
        self.next += 1;
        self.nodes.insert(id, node);
        self.change(folder, vec![(name, Some(id))])?;
        Ok(id)
    }

    pub fn create_file(&mut self, path: &Path) -> io::Result<NodeId> {
        let node = Node::new(Contents::File(FileBytes::default()), self.time_ns);
        self.create(path, node)
    }

    pub fn create_folder(&mut self, path: &Path) -> io::Result<()> {
        let node = Node::folder(self.time_ns);
        self.create(path, node).map(|_| ())
    }

    /// Gives a file one more name.
    pub fn link(&mut self, node: NodeId, path: &Path) -> io::Result<()> {
        let (folder, name) = self.place(path)?;
        if self.folder(folder)?.contains_key(&name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        self.change(folder, vec![(name, Some(node))])
    }

    pub fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let (from, to) = (self.place(from)?, self.place(to)?);
        self.rename_in(from, to)
    }

    pub fn rename_in(&mut self, from: (NodeId, String), to: (NodeId, String)) -> io::Result<()> {
        let node = *self.folder(from.0)?.get(&from.1).ok_or_else(missing)?;
        if let Some(&taken) = self.folder(to.0)?.get(&to.1)
            && let Contents::Folder { names, .. } = &self.node(taken)?.contents
            && !names.is_empty()
        {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        if from == to {
            return Ok(());
        }
        if from.0 == to.0 {
            return self.change(from.0, vec![(from.1, None), (to.1, Some(node))]);
        }
        self.change(to.0, vec![(to.1, Some(node))])?;
        self.change(from.0, vec![(from.1, None)])
    }

    pub fn remove_file(&mut self, path: &Path) -> io::Result<()> {
        let (folder, name) = self.place(path)?;
        self.remove_in(folder, &name)
    }

    pub fn remove_in(&mut self, folder: NodeId, name: &str) -> io::Result<()> {
        let node = *self.folder(folder)?.get(name).ok_or_else(missing)?;
        if self.status(node)?.is_folder() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        self.change(folder, vec![(name.to_owned(), None)])
    }

    pub fn remove_folder(&mut self, path: &Path) -> io::Result<()> {
        let (folder, name) = self.place(path)?;
        let node = *self.folder(folder)?.get(&name).ok_or_else(missing)?;
        if !self.folder(node)?.is_empty() {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        self.change(folder, vec![(name, None)])
    }

    pub fn opened(&mut self, node: NodeId) {
        if let Ok(node) = self.node_mut(node) {
            node.handles += 1;
        }
    }

    pub fn closed(&mut self, id: NodeId, handle: u64) {
        if let Ok(node) = self.node_mut(id) {
            node.handles -= 1;
            node.locked_by.remove(&handle);
        }
        self.release(id);
    }

    /// A number that no other handle has.
    pub fn new_handle(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Gives a file a length, filling it up with zeros; fails where there is no room.
    pub fn set_bytes(&mut self, id: NodeId, length: u64) -> io::Result<()> {
        let modified_ns = self.stamp();
        let room = self.capacity_bytes.saturating_sub(self.used_bytes);
        let node = self.nodes.get_mut(&id).ok_or_else(missing)?;
        let (before, after) = (node.disk_bytes(), length.next_multiple_of(BLOCK_BYTES));
        if after.saturating_sub(before) > room {
            return Err(io::Error::from_raw_os_error(ENOSPC));
        }
        node.modified_ns = modified_ns;
        let Contents::File(file) = &mut node.contents else {
            return Err(io::ErrorKind::IsADirectory.into());
        };
        file.resize(usize::try_from(length).map_err(io::Error::other)?);
        self.used_bytes = self.used_bytes + after - before;
        Ok(())
    }

    /// Writes as many of the bytes as there is room for; fails if that is not all.
    pub fn write(&mut self, id: NodeId, bytes: &[u8], offset: u64) -> io::Result<()> {
        let end = offset + bytes.len() as u64;
        let room = self.capacity_bytes.saturating_sub(self.used_bytes);
        let end_max = self.node(id)?.disk_bytes().saturating_add(room / BLOCK_BYTES * BLOCK_BYTES);
        let written = usize::try_from(end.min(end_max).saturating_sub(offset)).map_err(io::Error::other)?;
        if end.min(end_max) > self.node(id)?.bytes() {
            self.set_bytes(id, end.min(end_max))?;
        }
        let modified_ns = self.stamp();
        let node = self.node_mut(id)?;
        node.modified_ns = modified_ns;
        let Contents::File(file) = &mut node.contents else {
            return Err(io::ErrorKind::IsADirectory.into());
        };
        let offset = usize::try_from(offset).map_err(io::Error::other)?;
        if let Some(bytes) = bytes.get(..written) {
            file.write(bytes, offset);
        }
        match written < bytes.len() {
            true => Err(io::Error::from_raw_os_error(ENOSPC)),
            false => Ok(()),
        }
    }

    pub fn sync(&mut self, node: NodeId) -> io::Result<()> {
        self.node_mut(node)?.sync();
        Ok(())
    }

    pub fn sync_everything(&mut self) {
        self.nodes.values_mut().for_each(Node::sync);
    }

    /// The files and folders as they are found after a power cut.
    pub fn after_power_cut(&self, below: &mut dyn FnMut(u64) -> u64) -> Self {
        let mut nodes = BTreeMap::new();
        for (id, node) in &self.nodes {
            let contents = match &node.contents {
                Contents::File(file) => Contents::File(file.after_power_cut(below)),
                Contents::Folder { durable, unsynced, .. } => {
                    let names = partly_changed(durable, unsynced, below);
                    Contents::Folder { durable: names.clone(), names, unsynced: Vec::new() }
                }
            };
            let mut node = Node::new(contents, node.modified_ns);
            node.links = u64::from(*id == ROOT);
            nodes.insert(*id, node);
        }
        let Self { next, capacity_bytes, time_ns, .. } = *self;
        let mut tree = Self { nodes, next, used_bytes: 0, capacity_bytes, time_ns };
        tree.count_links(ROOT);
        tree.nodes.retain(|_, node| node.links > 0);
        tree.used_bytes = tree.nodes.values().map(Node::disk_bytes).sum();
        tree
    }

    fn count_links(&mut self, folder: NodeId) {
        let below: Vec<NodeId> =
            self.folder(folder).map_or(Vec::new(), |names| names.values().copied().collect());
        for id in below {
            let Ok(node) = self.node_mut(id) else { continue };
            node.links += 1;
            if node.links == 1 {
                self.count_links(id);
            }
        }
    }
}

/// The names of a folder of whose changes the first ones have survived.
fn partly_changed(
    durable: &BTreeMap<String, NodeId>,
    unsynced: &[NameChange],
    below: &mut dyn FnMut(u64) -> u64,
) -> BTreeMap<String, NodeId> {
    let mut names = durable.clone();
    let survived = usize::try_from(below(unsynced.len() as u64 + 1)).unwrap_or(0);
    for (name, target) in unsynced.iter().take(survived).flatten() {
        match target {
            Some(target) => names.insert(name.clone(), *target),
            None => names.remove(name),
        };
    }
    names
}
