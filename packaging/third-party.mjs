// Prints who else's work is in the binary, and under which terms: every crate that is linked in, with the texts it came
// with. Equal texts are printed once.
//
//   node packaging/third-party.mjs [target triple] > third-party.txt

import { execFileSync } from 'node:child_process';
import { readFileSync, readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';

const host = /^host: (.*)$/m.exec(execFileSync('rustc', ['-vV'], { encoding: 'utf8' }))[1];
const target = process.argv[2] ?? host;
const metadata = JSON.parse(
  execFileSync('cargo', ['metadata', '--locked', '--format-version', '1', '--filter-platform', target], {
    encoding: 'utf8',
    maxBuffer: 1 << 28,
    stdio: ['ignore', 'pipe', 'inherit'],
  }),
);

// What is reached from the root by ordinary dependencies; what only builds or tests is not in the binary.
const nodes = new Map(metadata.resolve.nodes.map((node) => [node.id, node]));
const reached = new Set([metadata.resolve.root]);
for (const id of reached)
  for (const { pkg, dep_kinds } of nodes.get(id).deps)
    if (dep_kinds.some(({ kind }) => kind === null)) reached.add(pkg);
reached.delete(metadata.resolve.root);

const crates = metadata.packages.filter(({ id }) => reached.has(id)).sort((a, b) => (a.name < b.name ? -1 : 1));
const texts = new Map();
console.log('callgate contains these Rust crates:\n');
for (const { name, version, license, license_file, repository, manifest_path } of crates) {
  const folder = dirname(manifest_path);
  console.log(`${name} ${version}: ${license ?? license_file}${repository ? `, ${repository}` : ''}`);
  for (const file of readdirSync(folder).filter((file) => /^(licen[cs]e|copying|notice|copyright)/i.test(file))) {
    let text;
    try {
      text = readFileSync(join(folder, file), 'utf8').replaceAll('\r', '').trim();
    } catch {
      continue; // a folder of that name
    }
    const key = text.replace(/\s+/g, ' ');
    if (!texts.has(key)) texts.set(key, { text, crates: [] });
    texts.get(key).crates.push(`${name} ${version}`);
  }
}
for (const { text, crates } of texts.values()) console.log(`\n${'-'.repeat(80)}\n${crates.join(', ')}:\n\n${text}`);
