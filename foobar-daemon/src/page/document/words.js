// Numbers as `foobar top` writes them.

/** Requests per second; null is not known yet. */
function rate(perSecond) {
  return perSecond === null ? "-" : perSecond.toFixed(1);
}

/** Packets per second. */
function packets(perSecond) {
  return perSecond.toFixed(0);
}

/** Bits per second in the unit that fits. */
function bits(perSecond) {
  for (const [size, unit] of [[1e9, "Gbit/s"], [1e6, "Mbit/s"], [1e3, "kbit/s"]]) {
    if (perSecond >= size) return (perSecond / size).toFixed(1) + " " + unit;
  }
  return perSecond.toFixed(0) + " bit/s";
}

/** Bytes in the unit that fits. */
function bytes(count) {
  for (const [size, unit] of [[1e12, "TB"], [1e9, "GB"], [1e6, "MB"], [1e3, "kB"]]) {
    if (count >= size) return (count / size).toFixed(1) + " " + unit;
  }
  return count + " B";
}

/** Seconds in the unit that fits; null is not known. */
function time(seconds) {
  if (seconds === null) return "-";
  if (seconds < 0.000_995) return (seconds * 1e6).toFixed(0) + " µs";
  if (seconds < 0.009_95) return (seconds * 1e3).toFixed(1) + " ms";
  if (seconds < 0.995) return (seconds * 1e3).toFixed(0) + " ms";
  return seconds.toFixed(1) + " s";
}

/** The time of day at a moment. */
function clock(date) {
  return [date.getHours(), date.getMinutes(), date.getSeconds()]
    .map((part) => String(part).padStart(2, "0"))
    .join(":");
}

function sum(numbers) {
  return numbers.reduce((all, number) => all + number, 0);
}
