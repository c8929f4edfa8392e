const AT_IMPORT = process.env.COLOUR;

exports.main = () => ({ at_import: AT_IMPORT, now: process.env.COLOUR, names: Object.keys(process.env).sort() });
