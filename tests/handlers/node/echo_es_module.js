import { basename } from 'node:path';

export const main = async (event) => ({ ...event, base: basename('/a/b') });
