//! Memo tables: dense over the coordinates of a value, with pages that are allocated when first touched.

use std::collections::HashMap;

const PAGE: usize = 1024;
/// Tables with more pages than this find them in a hash map (lookups only, never iterated).
const DIRECT: u64 = 1 << 20;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Unknown,
    /// Asked for by a batch that is being computed.
    Pending,
    Known,
}

struct Page {
    states: [State; PAGE],
    bits: [u64; PAGE],
}

enum Pages {
    Direct(Vec<Option<Box<Page>>>),
    Sparse(HashMap<u64, Box<Page>>),
}

pub(crate) struct Memo(Pages);

impl Memo {
    /// A table for `points` points.
    pub(crate) fn new(points: u64) -> Memo {
        let pages = points.div_ceil(PAGE as u64);
        Memo(if pages <= DIRECT {
            Pages::Direct((0..pages).map(|_| None).collect())
        } else {
            Pages::Sparse(HashMap::new())
        })
    }

    pub(crate) fn get(&self, point: u64) -> (State, u64) {
        let (page, slot) = (point / PAGE as u64, (point % PAGE as u64) as usize);
        let found = match &self.0 {
            Pages::Direct(list) => list[page as usize].as_ref(),
            Pages::Sparse(map) => map.get(&page),
        };
        found.map_or((State::Unknown, 0), |page| (page.states[slot], page.bits[slot]))
    }

    fn page(&mut self, page: u64) -> &mut Page {
        let fresh = || {
            Box::new(Page {
                states: [State::Unknown; PAGE],
                bits: [0; PAGE],
            })
        };
        match &mut self.0 {
            Pages::Direct(list) => list[page as usize].get_or_insert_with(fresh),
            Pages::Sparse(map) => map.entry(page).or_insert_with(fresh),
        }
    }

    pub(crate) fn mark(&mut self, point: u64, state: State) {
        let slot = (point % PAGE as u64) as usize;
        self.page(point / PAGE as u64).states[slot] = state;
    }

    pub(crate) fn set(&mut self, point: u64, bits: u64) {
        let slot = (point % PAGE as u64) as usize;
        let page = self.page(point / PAGE as u64);
        page.states[slot] = State::Known;
        page.bits[slot] = bits;
    }
}
