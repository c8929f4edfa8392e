const VALUES = { null: undefined, list: [1, [2]], number: 1.5, string: 'text', true: true };

exports.main = (event) => VALUES[event];
