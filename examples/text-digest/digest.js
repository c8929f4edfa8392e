// What a text is made of. Node's own modules only.
const { createHash } = require('node:crypto');

exports.main = ({ text = '', top = 3 }) => {
  const words = text.toLowerCase().match(/\p{L}+/gu) ?? [];
  const counts = new Map();
  for (const word of words) counts.set(word, (counts.get(word) ?? 0) + 1);
  const frequent = [...counts].sort((a, b) => b[1] - a[1] || a[0].localeCompare(b[0])).slice(0, top);
  return {
    characters: [...text].length,
    words: words.length,
    frequent: frequent.map(([word, count]) => ({ word, count })),
    sha256: createHash('sha256').update(text).digest('hex'),
  };
};
