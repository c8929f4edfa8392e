exports.main = async (event) => {
  await new Promise((resolve) => setTimeout(resolve, 1));
  return { loops: 1, event };
};
