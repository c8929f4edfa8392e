throw new RangeError('no settings');
