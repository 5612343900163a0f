// Loads every package that package.json names, and prints their versions.
import { readFile } from 'node:fs/promises';

const json = async path => JSON.parse(await readFile(new URL(path, import.meta.url)));

const versions = {};
for (const name of Object.keys((await json('./package.json')).dependencies)) {
  await import(name);
  versions[name] = (await json(`./node_modules/${name}/package.json`)).version;
}
console.log(JSON.stringify(versions));
