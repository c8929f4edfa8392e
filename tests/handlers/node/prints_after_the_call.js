let done;

exports.main = async (event) => {
  if (event === 1) done = new Promise((resolve) => setTimeout(() => resolve(console.log('late')), 1));
  else await done;
  return event;
};
