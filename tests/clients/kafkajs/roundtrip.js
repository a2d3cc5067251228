// node roundtrip.js BOOTSTRAP TOPIC GROUP -- prints one JSON line with what kafkajs saw.
// kafkajs never negotiates above old versions of most APIs, and it has its own group protocol code.
const { Kafka, CompressionTypes, logLevel } = require("kafkajs");

const [bootstrap, topic, group] = process.argv.slice(2);
const kafka = new Kafka({ clientId: "kafkajs", brokers: [bootstrap], logLevel: logLevel.ERROR });

async function produce() {
  const producer = kafka.producer({ idempotent: true, maxInFlightRequests: 1 });
  await producer.connect();
  for (const compression of [CompressionTypes.None, CompressionTypes.GZIP]) {
    const messages = [...Array(100).keys()].map((n) => ({
      key: `k${n}`, value: `v${n}`, partition: n % 3, headers: { h: `${n}` },
    }));
    await producer.send({ topic, messages, compression });
  }
  await producer.disconnect();
}

async function consume(count) {
  const consumer = kafka.consumer({ groupId: group, sessionTimeout: 10000 });
  const seen = [];
  await consumer.connect();
  await consumer.subscribe({ topic, fromBeginning: true });
  await new Promise((resolve, reject) => {
    setTimeout(() => reject(new Error(`only ${seen.length} of ${count} records`)), 20000).unref();
    consumer.run({
      eachMessage: async ({ partition, message }) => {
        seen.push([partition, message.offset, message.key.toString(), message.value.toString(), message.headers.h.toString()]);
        if (seen.length === count) resolve();
      },
    }).catch(reject);
  });
  await consumer.disconnect();
  return seen;
}

async function main() {
  const admin = kafka.admin();
  await admin.connect();
  const created = await admin.createTopics({ topics: [{ topic, numPartitions: 3 }], waitForLeaders: true });
  await produce();
  const seen = await consume(200);
  const ends = (await admin.fetchTopicOffsets(topic)).map((p) => [p.partition, p.high]);
  const committed = (await admin.fetchOffsets({ groupId: group, topics: [topic] }))[0].partitions.map((p) => [p.partition, p.offset]);
  const { groups } = await admin.describeGroups([group]);
  await admin.deleteGroups([group]);
  await admin.deleteTopics({ topics: [topic] });
  await admin.disconnect();
  console.log(JSON.stringify({ created, seen, ends, committed, state: groups[0].state }));
}

main().catch((error) => { console.error(error); process.exit(1); });
