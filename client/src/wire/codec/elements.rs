//! Elements of an array, read in place: for bodies that are too hot to become structs.

use crate::wire::codec::Reader;

/// What a broker makes of each topic and partition of a large request, in bytes of memory.
const OF_ELEMENT: usize = 512;
/// What it may make of all of them: there may be 262,144.
const OF_ALL: usize = 128 << 20;

/// A reader for a body that is walked in place; with too many elements it fails.
pub(crate) fn reader(body: &[u8]) -> Reader<'_> {
    Reader::new(body).with_limits(OF_ALL, OF_ELEMENT)
}

/// Elements that lie one behind the other. They were read once when this was made, so that a
/// second reading cannot fail; nothing is allocated.
#[derive(Clone, Debug)]
pub struct Elements<'a, T> {
    reader: Reader<'a>,
    left: usize,
    version: i16,
    read: fn(&mut Reader<'a>, i16) -> T,
}

impl<'a, T> Elements<'a, T> {
    /// Walks `reader` over an array whose elements take `least` bytes or more.
    pub(crate) fn walk(
        reader: &mut Reader<'a>,
        version: i16,
        least: usize,
        read: fn(&mut Reader<'a>, i16) -> T,
    ) -> Self {
        let left = reader.count_or_null(least, false).unwrap_or_default();
        let elements = Self {
            reader: reader.clone(),
            left,
            version,
            read,
        };
        for _ in 0..left {
            reader.charge_element::<()>();
            read(reader, version);
            if reader.check().is_err() {
                break;
            }
        }
        elements
    }

    /// No elements: for a version without the field.
    pub(crate) fn none(version: i16, read: fn(&mut Reader<'a>, i16) -> T) -> Self {
        Self {
            reader: Reader::new(&[]),
            left: 0,
            version,
            read,
        }
    }
}

impl<T> Iterator for Elements<'_, T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.left = self.left.checked_sub(1)?;
        Some((self.read)(&mut self.reader, self.version))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl<T> ExactSizeIterator for Elements<'_, T> {}
