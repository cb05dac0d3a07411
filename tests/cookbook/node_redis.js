// node-redis through the Sentinel face: writes as long as it is let.
const [library, host, port, name, key] = process.argv.slice(2);
const { createSentinel } = require(library);

let stopped = false;
process.stdin.on("end", () => { stopped = true; });
process.stdin.resume();
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

(async () => {
  const sentinel = createSentinel({
    name,
    sentinelRootNodes: [{ host, port: Number(port) }],
    scanInterval: 200,
    passthroughClientErrorEvents: false,
  });
  sentinel.on("error", () => {});
  await sentinel.connect();
  for (let number = 1; !stopped; number += 1) {
    try {
      await sentinel.rPush(key, String(number));
      console.log("ack", number);
    } catch (error) {
      console.log("err", number, error.message);
      await pause(10);
    }
    await pause(2);
  }
  process.exit(0);
})();
