exports.main = () => {
  console.log('eating');
  const eaten = [];
  for (;;) eaten.push(Buffer.alloc(4_000_000, 'x'));
};
