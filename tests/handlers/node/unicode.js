exports.main = (event) => {
  console.log('grüße \u{1f600}');
  console.log('lone \ud800 surrogate');
  return { text: `${event.text}\u{1f600}`, lone: 'a\ud800b', nul: '\0', escaped: '\\ud800' };
};
