/** Which format a file is in, by how it begins: one of the six that are read, or one to call by its name when it is refused. */

import { brandsOf, isAvif } from './avif.js';
import { bufferOf } from './buffer.js';

/** A format that is read. */
export type Format = 'jpeg' | 'png' | 'gif' | 'webp' | 'tiff' | 'avif';

/** A format that is not read: what to call it, and what to do. */
export interface ForeignFormat {
  /** With its article. */
  name: string;
  advice: string;
}

const CONVERT = 'Convert it to PNG or JPEG first.';
const RENDER = 'Render it to PNG first, as large as it should be read.';
const TAKE_FRAME = 'Take a frame out of it as PNG or JPEG first.';
const UNPACK = 'Unpack the image first.';
const FETCH_AGAIN = 'Look at what the server answered, and get the image itself.';

/** Some of them begin as a TIFF does. */
const CAMERA_RAW: ForeignFormat = { name: 'a camera raw file', advice: 'Develop it to PNG or JPEG first.' };

/** How many bytes are looked at; an SVG may begin with comments. */
const LOOKED_AT = 4096;

/** By how a file begins, as Latin-1. The first that matches counts. */
const FOREIGN: readonly [begins: string | readonly string[] | RegExp, name: string, advice: string][] = [
  ['version https://git-lfs.github.com/', 'a Git LFS pointer, not the file itself', 'Run git lfs pull.'],
  [/^data:[\w.+/-]+[;,]/i, 'the text of a data: URL', 'Give the text itself, as a string.'],
  [['\xff\x0a', '\0\0\0\x0cJXL '], 'a JPEG XL file', CONVERT],
  [['\0\0\0\x0cjP  ', '\xff\x4f\xff\x51'], 'a JPEG 2000 file', CONVERT],
  ['II\xbc', 'a JPEG XR file', CONVERT],
  [/^BM.{12}[\f(4@8l|]\0\0\0/s, 'a BMP file', CONVERT],
  ['\0\0\x01\0', 'an ICO file', CONVERT],
  ['\0\0\x02\0', 'a CUR file', CONVERT],
  ['icns', 'an ICNS file', CONVERT],
  [
    /^(\xef\xbb\xbf)?\s*(<\?xml[^>]*>\s*|<!--((?!-->)[^])*-->\s*|<!DOCTYPE svg[^>]*>\s*)*<(svg:)?svg[\s/>]/i,
    'an SVG file',
    RENDER,
  ],
  [/^.{0,1020}%PDF-/s, 'a PDF file', 'Render its pages to PNG first.'],
  [['%!PS', '\xc5\xd0\xd3\xc6'], 'a PostScript file', RENDER],
  ['\xd7\xcd\xc6\x9a', 'a WMF file', RENDER],
  [/^.{40} EMF/s, 'an EMF file', RENDER],
  ['8BPS', 'a Photoshop file', CONVERT],
  ['gimp xcf', 'a GIMP file', CONVERT],
  ['\x76\x2f\x31\x01', 'an OpenEXR file', CONVERT],
  [['#?RADIANCE', '#?RGBE'], 'a Radiance HDR file', CONVERT],
  ['DDS ', 'a DDS file', CONVERT],
  ['\xabKTX', 'a KTX file', CONVERT],
  ['qoif', 'a QOI file', CONVERT],
  ['FLIF', 'a FLIF file', CONVERT],
  ['BPG\xfb', 'a BPG file', CONVERT],
  [/^P[1-7Ff]\s+[#\d.-]/, 'a PNM file', CONVERT],
  ['\n\x05\x01', 'a PCX file', CONVERT],
  [['\x8aMNG', '\x8bJNG'], 'an MNG file', CONVERT],
  ['SIMPLE  =', 'a FITS file', CONVERT],
  [/^.{128}DICM/s, 'a DICOM file', CONVERT],
  [['FUJIFILMCCD-RAW', 'IIRO', 'IIRS', 'MMOR', 'IIU\0', '\0MRM', 'FOVb'], CAMERA_RAW.name, CAMERA_RAW.advice],
  [['\x1aE\xdf\xa3', 'OggS', 'FLV\x01', '\0\0\x01\xb3', '\0\0\x01\xba'], 'a video', TAKE_FRAME],
  [/^RIFF.{4}AVI /s, 'a video', TAKE_FRAME],
  [['PK\x03\x04', '\x1f\x8b', '7z\xbc\xaf', 'Rar!', 'BZh', '\xfd7zXZ', '(\xb5\x2f\xfd'], 'a compressed file', UNPACK],
  [/^\s*<(!doctype html|html|head|body)/i, 'a web page', FETCH_AGAIN],
  [/^\s*<\?xml/i, 'an XML file', FETCH_AGAIN],
  [/^\s*(\{\s*"|\[\s*[{"[])/, 'JSON', FETCH_AGAIN],
];

/** Of files in the ISO base format, by a brand. */
const FOREIGN_BRANDS: readonly [brand: RegExp, name: string, advice: string][] = [
  [/^(hei[cxms]|hev[cxms])$/, 'a HEIC file', CONVERT],
  [/^(mif1|msf1|mif2|miaf|jpeg|vvic|avci)$/, 'a HEIF file', CONVERT],
  [/^crx /, CAMERA_RAW.name, CAMERA_RAW.advice],
  [/./, 'a video', TAKE_FRAME],
];

/** The format of these bytes, or what else they are; undefined where they begin like nothing known. */
export function recognize(bytes: Uint8Array): Format | ForeignFormat | undefined {
  const head = bufferOf(bytes, LOOKED_AT).toString('latin1');
  if (head.startsWith('\xff\xd8\xff')) return 'jpeg';
  if (head.startsWith('\x89PNG\r\n\x1a\n')) return 'png';
  if (/^GIF8[79]a/.test(head)) return 'gif';
  if (/^RIFF.{4}WEBP/s.test(head)) return 'webp';
  if (/^(II[*+]\0|MM\0[*+])/.test(head)) return head.startsWith('CR', 8) ? CAMERA_RAW : 'tiff';
  const brands = brandsOf(bytes);
  const isHeic = /^(hei[cxms]|hev[cxms])$/.test(brands[0] ?? '');
  if (isAvif(brands) && !isHeic) return 'avif';
  const foreign =
    FOREIGN.find(([begins]) => startsAs(head, begins)) ??
    FOREIGN_BRANDS.find(([brand]) => brands.some(name => brand.test(name)));
  return foreign && { name: foreign[1], advice: foreign[2] };
}

function startsAs(head: string, begins: string | readonly string[] | RegExp): boolean {
  if (begins instanceof RegExp) return begins.test(head);
  return [begins].flat().some(signature => head.startsWith(signature));
}
