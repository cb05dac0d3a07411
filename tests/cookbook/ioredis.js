// ioredis (or iovalkey, by the first argument) through the Sentinel face: writes as long as it is let.
const [library, host, port, name, key] = process.argv.slice(2);
const Client = require(library);
const client = new Client({
  sentinels: [{ host, port: Number(port) }],
  name,
  // A node that became a slave answers READONLY: leave it, ask again who is master. The failed write is
  // not sent again by itself, or a write that was done and whose answer was lost would be done twice.
  reconnectOnError: (error) => error.message.startsWith("READONLY"),
  retryStrategy: () => 10,
  sentinelRetryStrategy: () => 10,
  maxRetriesPerRequest: 0,
  autoResendUnfulfilledCommands: false,
});
client.on("error", () => {});

let stopped = false;
process.stdin.on("end", () => { stopped = true; });
process.stdin.resume();
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

(async () => {
  for (let number = 1; !stopped; number += 1) {
    try {
      await client.rpush(key, number);
      console.log("ack", number);
    } catch (error) {
      console.log("err", number, error.message);
      await pause(10);
    }
    await pause(2);
  }
  client.disconnect();
  process.exit(0);
})();
