// Plays MQTT.js over WebSocket: node mqtt.js SETTINGS, with the settings as JSON: {"url", "username", "password", "protocolVersion"}.
// The last line is "done" if all went well.
const mqtt = require('mqtt');

const SECONDS = 30;
const { url, ...options } = JSON.parse(process.argv[2]);

setTimeout(() => {
    console.error('too slow');
    process.exit(1);
}, SECONDS * 1000).unref();

function equal(found, expected) {
    if (JSON.stringify(found) !== JSON.stringify(expected)) {
        throw new Error(`${JSON.stringify(found)} instead of ${JSON.stringify(expected)}`);
    }
}

async function refused() {
    try {
        await mqtt.connectAsync(url, { ...options, password: 'wrong', reconnectPeriod: 0 }, false);
    } catch (error) {
        equal([4, 5, 134].includes(error.code), true);
        return;
    }
    throw new Error('a wrong password was accepted');
}

async function main() {
    await refused();
    const hearer = await mqtt.connectAsync(url, { ...options, clientId: 'hearer' });
    const speaker = await mqtt.connectAsync(url, { ...options, clientId: 'speaker' });
    const heard = [];
    const all = new Promise(resolve => hearer.on('message', (topic, payload, packet) => {
        heard.push([topic, payload.length, packet.qos]);
        if (heard.length === 4) {
            resolve();
        }
    }));
    await hearer.subscribeAsync('tele/#', { qos: 2 });
    for (const qos of [0, 1, 2]) {
        await speaker.publishAsync(`tele/${qos}`, 'x'.repeat(qos + 1), { qos });
    }
    await speaker.publishAsync('tele/large', Buffer.alloc(600000), { qos: 1 });
    await all;
    equal(heard.sort(), [['tele/0', 1, 0], ['tele/1', 2, 1], ['tele/2', 3, 2], ['tele/large', 600000, 1]]);
    await hearer.endAsync();
    await speaker.endAsync();
    console.log('done');
}

main().catch(error => {
    console.error(error);
    process.exit(1);
});
