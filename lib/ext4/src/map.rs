//! Where the blocks of a file are: extent trees (ext4) and block maps (ext2, ext3).
//!
//! Both are asked for one block at a time, so a lookup descends once from the top: at most five levels, whatever they contain.

use crate::inode::Inode;
use crate::{Device, Error, Ext4, number};

const EXTENT_MAGIC: u64 = 0xf30a;
const DEPTH_MAX: u64 = 5;
/// Bytes of an entry of an extent tree's node, and of its header.
const ENTRY: usize = 12;
/// Extents longer than this are allocated, but not written: they read as zeros.
const WRITTEN_MAX: u64 = 1 << 15;
/// Blocks that an inode names directly.
const DIRECT: u64 = 12;

/// Blocks in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// The first one; `None` is a hole, which reads as zeros.
    pub block: Option<u64>,
    /// How many; at least one.
    pub count: u64,
}

impl Run {
    const HOLE: Self = Self {
        block: None,
        count: 1,
    };
}

/// What a node says of a block.
enum Step {
    Found(Run),
    Down(u64),
}

impl<D: Device> Ext4<D> {
    /// Where block `logical` of a file is, with what follows it in a row.
    pub(crate) fn run(&self, inode: &Inode, logical: u64) -> Result<Run, Error> {
        let run = if inode.has_extents() {
            self.run_of_extents(inode, logical)?
        } else {
            self.run_of_map(inode, logical)?
        };
        if let Some(block) = run.block {
            let last = block.checked_add(run.count - 1);
            let last = last.ok_or(Error::Corrupt("extent"))?;
            self.offset_of(block, "extent")?;
            self.offset_of(last, "extent")?;
        }
        Ok(run)
    }

    fn run_of_extents(&self, inode: &Inode, logical: u64) -> Result<Run, Error> {
        let (mut step, mut depth) = step_down(&inode.map, logical, None)?;
        loop {
            match step {
                Step::Found(run) => return Ok(run),
                Step::Down(block) => {
                    // Each level is one less: this ends.
                    let below = self.with_block(block, "extent tree", |node| {
                        step_down(node, logical, Some(depth))
                    })?;
                    (step, depth) = below;
                }
            }
        }
    }

    fn run_of_map(&self, inode: &Inode, logical: u64) -> Result<Run, Error> {
        let per_block = self.block_size() as u64 / 4;
        if logical < DIRECT {
            return run_in(&inode.map, logical, DIRECT);
        }
        let mut index = logical - DIRECT;
        let mut span = 1;
        for level in 0..3_u64 {
            // At most 2^14 cubed.
            span *= per_block;
            if index < span {
                let mut block = number(&inode.map, (DIRECT + level) as usize * 4, 4).unwrap_or(0);
                while span > 1 {
                    span /= per_block;
                    if block == 0 {
                        return Ok(Run::HOLE);
                    }
                    let place = index / span;
                    index %= span;
                    let run = self
                        .with_block(block, "block map", |table| run_in(table, place, per_block))?;
                    if span == 1 {
                        return Ok(run);
                    }
                    block = run.block.unwrap_or(0);
                }
            }
            index -= span;
        }
        Err(Error::Corrupt("file size"))
    }
}

/// The run that begins with entry `place` of a table of `count` block numbers.
fn run_in(table: &[u8], place: u64, count: u64) -> Result<Run, Error> {
    let entry = |place: u64| number(table, place as usize * 4, 4);
    let first = match entry(place) {
        Some(0) => return Ok(Run::HOLE),
        Some(first) => first,
        None => return Err(Error::Corrupt("block map")),
    };
    let more = (place + 1..count).zip(first + 1..);
    let more = more.take_while(|&(place, block)| entry(place) == Some(block));
    Ok(Run {
        block: Some(first),
        count: 1 + more.count() as u64,
    })
}

/// Looks for block `logical` in a node that is below one of depth `above`. Gives the node's depth too.
fn step_down(node: &[u8], logical: u64, above: Option<u64>) -> Result<(Step, u64), Error> {
    let bad = Error::Corrupt("extent tree");
    let field = |at, size| number(node, at, size).ok_or(bad.clone());
    let (magic, count, depth) = (field(0, 2)?, field(2, 2)?, field(6, 2)?);
    let expected = above.map_or(depth <= DEPTH_MAX, |above| {
        Some(depth) == above.checked_sub(1)
    });
    if magic != EXTENT_MAGIC || !expected {
        return Err(bad);
    }
    // The last entry that does not begin behind the block; and where the next one begins.
    let mut found = None;
    let mut next = None;
    for index in 1..=count as usize {
        let at = index * ENTRY;
        let first = field(at, 4)?;
        if first <= logical {
            found = Some((at, first));
        } else {
            next = Some(first);
            break;
        }
    }
    let hole = Run {
        block: None,
        count: next.map_or(1, |next| next - logical),
    };
    let Some((at, first)) = found else {
        return Ok((Step::Found(hole), depth));
    };
    if depth > 0 {
        let below = field(at + 8, 2)? << 32 | field(at + 4, 4)?;
        return Ok((Step::Down(below), depth));
    }
    let (written, length) = match field(at + 4, 2)? {
        length @ 0..=WRITTEN_MAX => (true, length),
        length => (false, length - WRITTEN_MAX),
    };
    let inside = logical - first;
    if inside >= length {
        return Ok((Step::Found(hole), depth));
    }
    let start = field(at + 6, 2)? << 32 | field(at + 8, 4)?;
    let run = Run {
        block: written.then_some(start + inside),
        count: length - inside,
    };
    Ok((Step::Found(run), depth))
}
