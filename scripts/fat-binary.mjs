// What a built CUDA library holds, read from the headers in its section .nv_fatbin, which are plain even where the code is compressed. Neither CUDA nor a
// GPU is asked.
import fs from 'node:fs';

const kFatBinary = 0xba55ed50;
const kinds = new Map([
  [1, 'compute_'],
  [2, 'sm_'],
]);

/** One list for each compiled file, of what it holds: 'sm_90' is machine code, 'compute_80' PTX. Null: the file is no ELF library with kernels. */
export function fatBinaries(file) {
  const bytes = fs.readFileSync(file);
  const section = sectionOf(bytes, '.nv_fatbin');
  if (!section) return null;
  const all = [];
  // The linker lines the fat binaries up, with zeros between them.
  for (let at = 0; at + 16 <= section.length; ) {
    if (section.readUInt32LE(at) !== kFatBinary) {
      at += 8;
      continue;
    }
    const first = at + section.readUInt16LE(at + 6);
    const end = first + Number(section.readBigUInt64LE(at + 8));
    all.push(entriesOf(section, first, Math.min(end, section.length)));
    at = Math.ceil(end / 8) * 8;
  }
  return all.length > 0 ? all : null;
}

/** Of each entry's header: kind (16 bits), version (16), size of the header (32), size of what follows (64), … architecture (32, at 28). */
function entriesOf(section, first, end) {
  const entries = [];
  for (let at = first; at + 32 <= end; ) {
    const kind = kinds.get(section.readUInt16LE(at)) ?? `kind ${section.readUInt16LE(at)} of `;
    entries.push(`${kind}${section.readUInt32LE(at + 28)}`);
    const size = section.readUInt32LE(at + 4) + Number(section.readBigUInt64LE(at + 8));
    if (size === 0) break;
    at += size;
  }
  return entries;
}

/** The bytes of a section of a 64-bit little-endian ELF file. */
function sectionOf(bytes, name) {
  if (bytes.length < 64 || bytes.readUInt32BE(0) !== 0x7f454c46 || bytes[4] !== 2 || bytes[5] !== 1) return null;
  const header = number => Number(bytes.readBigUInt64LE(0x28)) + number * bytes.readUInt16LE(0x3a);
  const content = at => {
    const from = Number(bytes.readBigUInt64LE(at + 0x18));
    return bytes.subarray(from, from + Number(bytes.readBigUInt64LE(at + 0x20)));
  };
  const names = content(header(bytes.readUInt16LE(0x3e)));
  for (let number = 0; number < bytes.readUInt16LE(0x3c); number += 1) {
    const from = bytes.readUInt32LE(header(number));
    if (names.toString('latin1', from, names.indexOf(0, from)) === name) return content(header(number));
  }
  return null;
}
