// Imports what `tests/run.sh` installed; modules do not look where NODE_PATH says by themselves.
// It must never fall back to another version, or to the network.

import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

const { resolve } = createRequire(import.meta.url);

export const installed = (name) => import(pathToFileURL(resolve(name)));
