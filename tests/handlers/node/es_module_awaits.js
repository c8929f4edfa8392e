const base = await Promise.resolve('ready');

export const main = () => base;
