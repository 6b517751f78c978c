// Over http the client makes its subscriptions of polls.
const assert = require('assert').strict;

module.exports = async ({ hive, models: { Command, Device, Notification, query } }) => {
    const deviceId = 'pump';
    const timestamp = new Date(Date.now() - 60000).toISOString();
    await hive.device.add(new Device({ id: deviceId, name: 'Pump', networkId: 1, deviceTypeId: 1 }));
    const insert = async (name, parameters) => (await hive.command.insert(deviceId, new Command({ command: name, parameters }))).id;
    const notify = async name => (await hive.notification.insert(deviceId, new Notification({ notification: name }))).id;
    const brought = subscriptionId => hive.of(subscriptionId).map(({ id }) => id);

    const opened = await hive.command.subscribe(new query.CommandPollQuery({ deviceId, names: ['open'], timestamp }));
    const updated = await hive.command.subscribe(new query.CommandPollQuery({ deviceId, timestamp, returnUpdatedCommands: true }));
    const told = await hive.notification.subscribe(new query.NotificationPollQuery({ deviceId, timestamp, names: ['opened', 'closed'] }));
    const first = await insert('open', { by: 1 });
    await insert('close');
    const notification = await notify('opened');
    await hive.command.update(new Command({ id: first, deviceId, command: 'open', status: 'done', result: { angle: 90 } }));
    await hive.until(() => brought(opened.subscriptionId).length && brought(updated.subscriptionId).length && brought(told.subscriptionId).length, 'an event');
    assert.deepEqual(hive.of(opened.subscriptionId)[0].parameters, { by: 1 });
    // Over http the client goes on from the time of the insert, so that it hears of an update again with each poll.
    const updates = hive.of(updated.subscriptionId).slice(0, hive.overHttp ? 1 : undefined);
    assert.deepEqual(updates.map(({ id, result }) => [id, result]), [[first, { angle: 90 }]]);
    assert.deepEqual(brought(told.subscriptionId), [notification]);

    await hive.notification.unsubscribe(told.subscriptionId);
    await notify('closed');
    const second = await insert('open', { by: 2 });
    await hive.until(() => brought(opened.subscriptionId).includes(second), 'the second command');
    assert.deepEqual(brought(opened.subscriptionId), [first, second]);
    assert.deepEqual(brought(told.subscriptionId), [notification]);
    await hive.command.unsubscribe(opened.subscriptionId);
    await hive.command.unsubscribe(updated.subscriptionId);
    assert.deepEqual(hive.errors, []);
};
