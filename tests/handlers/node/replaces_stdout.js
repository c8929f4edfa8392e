exports.main = (event) => {
  console.log('said', event);
  process.stdout.write = () => true;
  return event;
};
