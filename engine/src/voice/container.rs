//! The safetensors container: eight bytes of header length, a JSON header, then the tensors' bytes.
//!
//! Read and written here and not by the `safetensors` crate for two reasons: a bank's content hash needs bytes that
//! depend on nothing but its content (the crate writes the metadata in hash-map order), and sums over offsets that a
//! hostile header claims must not overflow. Whatever is allocated is in proportion to bytes that are really there.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserializer, Error as _, MapAccess, Visitor};
use serde::{Deserialize, Serialize};

/// Longest accepted header, in bytes: several hundred tensors and a card with long notices.
const MAX_HEADER_BYTES: usize = 1 << 20;

/// Alignment of the tensors' bytes in the file.
const ALIGNMENT: usize = 8;

/// What a header says, none of it believed yet except that it is JSON of the right form.
#[derive(Debug, Default)]
pub(super) struct Header {
    /// The entries of `__metadata__`.
    pub metadata: BTreeMap<String, String>,
    /// The tensors by name.
    pub tensors: BTreeMap<String, Entry>,
}

/// One tensor's line in the header.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Entry {
    /// Element type, such as `F32`.
    pub dtype: String,
    /// Sizes of its axes.
    pub shape: Vec<u64>,
    /// First byte and the byte after the last, counted from the end of the header.
    pub data_offsets: (u64, u64),
}

/// Element types that are read; all are widened to f32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Element {
    F32,
    F16,
    Bf16,
}

impl Element {
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "F32" => Some(Self::F32),
            "F16" => Some(Self::F16),
            "BF16" => Some(Self::Bf16),
            _ => None,
        }
    }

    pub fn bytes(self) -> u64 {
        if self == Self::F32 { 4 } else { 2 }
    }

    /// Widens little-endian elements to f32; bytes that do not fill an element are left out.
    pub fn widen(self, bytes: &[u8]) -> Vec<f32> {
        let (pairs, _) = bytes.as_chunks::<2>();
        let (quads, _) = bytes.as_chunks::<4>();
        match self {
            Self::F32 => quads.iter().map(|quad| f32::from_le_bytes(*quad)).collect(),
            Self::F16 => pairs.iter().map(|pair| half_to_f32(u16::from_le_bytes(*pair))).collect(),
            Self::Bf16 => {
                pairs.iter().map(|pair| f32::from_bits(u32::from(u16::from_le_bytes(*pair)) << 16)).collect()
            }
        }
    }
}

/// IEEE 754 binary16 to binary32, exact.
fn half_to_f32(half: u16) -> f32 {
    let sign = if half & 0x8000 == 0 { 1.0 } else { -1.0 };
    let (exponent, mantissa) = (u32::from(half >> 10) & 31, u32::from(half) & 1023);
    match exponent {
        0 => sign * mantissa as f32 * f32::from_bits((127 - 24) << 23),
        31 if mantissa == 0 => sign * f32::INFINITY,
        31 => f32::NAN,
        _ => sign * f32::from_bits(((exponent + 112) << 23) | (mantissa << 13)),
    }
}

/// Splits a file into its header and the bytes of its tensors. The tensors' offsets are checked to follow each other
/// from the first byte to the last, without a gap or an overlap. The error is a sentence about the file.
pub(super) fn read(bytes: &[u8]) -> Result<(Header, &[u8]), String> {
    let Some((length, rest)) = bytes.split_first_chunk::<8>() else {
        return Err(format!("it has {} bytes, a safetensors file has at least 8", bytes.len()));
    };
    let length = u64::from_le_bytes(*length);
    if length > MAX_HEADER_BYTES as u64 {
        return Err(format!("its header claims {length} bytes, at most {MAX_HEADER_BYTES} are accepted"));
    }
    let Some((header, data)) = rest.split_at_checked(length as usize) else {
        return Err(format!("its header claims {length} bytes, the file has {} left", rest.len()));
    };
    let header: Header =
        serde_json::from_slice(header).map_err(|error| format!("its header is not valid: {error}"))?;

    let mut spans: Vec<_> = header.tensors.iter().map(|(name, entry)| (entry.data_offsets, name)).collect();
    spans.sort_unstable();
    let mut expected = 0;
    for ((begin, end), name) in spans {
        if begin != expected || end < begin || end > data.len() as u64 {
            return Err(format!(
                "tensor `{name}` claims the bytes {begin}..{end}; expected them to begin at {expected} and to end \
                 within {}",
                data.len()
            ));
        }
        expected = end;
    }
    if expected != data.len() as u64 {
        return Err(format!("its tensors cover {expected} bytes, it holds {}", data.len()));
    }
    Ok((header, data))
}

/// The header of a file that holds f32 tensors of these names and shapes one after the other, with its length in
/// front and padded so that the tensors' bytes are aligned. Equal arguments give equal bytes.
pub(super) fn write_header<'a>(
    metadata: &BTreeMap<&str, String>,
    tensors: impl Iterator<Item = (&'a str, &'a [usize])>,
) -> Result<Vec<u8>, serde_json::Error> {
    let mut json = format!("{{\"__metadata__\":{}", serde_json::to_string(metadata)?);
    let mut begin = 0;
    for (name, shape) in tensors {
        let shape: Vec<u64> = shape.iter().map(|size| *size as u64).collect();
        let end = begin + 4 * shape.iter().product::<u64>();
        let entry = Entry { dtype: "F32".into(), shape, data_offsets: (begin, end) };
        json += &format!(",{}:{}", serde_json::to_string(name)?, serde_json::to_string(&entry)?);
        begin = end;
    }
    json.push('}');
    while !json.len().is_multiple_of(ALIGNMENT) {
        json.push(' ');
    }
    let mut header = (json.len() as u64).to_le_bytes().to_vec();
    header.extend(json.into_bytes());
    Ok(header)
}

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct HeaderVisitor;

        impl<'de> Visitor<'de> for HeaderVisitor {
            type Value = Header;

            fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
                formatter.write_str("a safetensors header")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Header, A::Error> {
                let mut header = Header::default();
                let mut metadata_seen = false;
                while let Some(name) = map.next_key::<String>()? {
                    if name == "__metadata__" {
                        if std::mem::replace(&mut metadata_seen, true) {
                            return Err(A::Error::custom("__metadata__ is given twice"));
                        }
                        header.metadata = map.next_value()?;
                    } else if header.tensors.insert(name.clone(), map.next_value()?).is_some() {
                        return Err(A::Error::custom(format!("tensor `{name}` is given twice")));
                    }
                }
                Ok(header)
            }
        }

        deserializer.deserialize_map(HeaderVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_precision_widens_exactly() {
        // Values of the IEEE 754 binary16 table.
        for (bits, value) in [
            (0x0000, 0.0),
            (0x3c00, 1.0),
            (0xc000, -2.0),
            (0x7bff, 65504.0),
            (0x0400, 6.103_515_6e-5),
            (0x0001, 5.960_464_5e-8),
            (0x03ff, 6.097_555e-5),
            (0x3555, 0.333_251_95),
            (0xfc00, f32::NEG_INFINITY),
        ] {
            assert_eq!(half_to_f32(bits), value, "{bits:#06x}");
        }
        assert!(half_to_f32(0x7e00).is_nan());
        assert_eq!(Element::Bf16.widen(&[0x80, 0x3f, 0x20, 0xc1]), [1.0, -10.0]);
    }

    #[test]
    fn spans_that_sum_to_more_than_64_bits_are_refused() {
        // Each span follows the one before, and the last ends where an overflowing sum would fit the file again.
        let step = 1_u64 << 60;
        let mut json = String::from("{");
        for index in 0..15_u64 {
            json += &format!(
                "\"t{index:02}\":{{\"dtype\":\"F32\",\"shape\":[{}],\"data_offsets\":[{},{}]}},",
                step / 4,
                index * step,
                (index + 1) * step
            );
        }
        json.pop();
        json.push('}');
        let mut bytes = (json.len() as u64).to_le_bytes().to_vec();
        bytes.extend(json.into_bytes());
        bytes.extend([0; 64]);
        let error = read(&bytes).unwrap_err();
        assert!(error.contains("`t00` claims the bytes 0..1152921504606846976"), "{error}");
    }
}
