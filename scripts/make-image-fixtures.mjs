// Writes each golden PNG beside itself as raw RGB (imageN.rgb: height·width·3 bytes, no header; the sizes stand in images.json of the case),
// since the native tests of the resampler have no PNG decoder. The files are committed; run this again only when golden images change:
//
//   node scripts/make-image-fixtures.mjs          write them
//   node scripts/make-image-fixtures.mjs --check  compare with what is there, exit 1 on a difference
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import sharp from 'sharp';

const check = process.argv.includes('--check');
const golden = join(dirname(fileURLToPath(import.meta.url)), '..', 'test', 'golden');
let differences = 0;

async function put(path, bytes) {
  if (!check) return writeFile(path, bytes);
  const there = await readFile(path).catch(() => null);
  if (there === null || Buffer.compare(there, bytes) !== 0) {
    differences += 1;
    console.error(`${path} is missing or differs from its PNG. Run this script without --check.`);
  }
}

for (const entry of await readdir(golden, { withFileTypes: true })) {
  if (!entry.isDirectory()) continue;
  const folder = join(golden, entry.name);
  const images = (await readdir(folder)).filter(name => name.endsWith('.png')).toSorted();
  if (images.length === 0) continue;
  const sizes = {};
  for (const name of images) {
    const { data, info } = await sharp(join(folder, name)).raw().toBuffer({ resolveWithObject: true });
    if (info.channels !== 3)
      throw new Error(`${join(folder, name)} has ${info.channels} channels, but golden images are RGB.`);
    const raw = name.replace(/\.png$/, '.rgb');
    sizes[raw] = { width: info.width, height: info.height };
    await put(join(folder, raw), data);
  }
  await put(join(folder, 'images.json'), Buffer.from(`${JSON.stringify(sizes, null, 2)}\n`));
}
process.exitCode = differences === 0 ? 0 : 1;
