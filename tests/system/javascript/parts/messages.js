// Commands with results, notifications, and the polls of one and of several devices.
const assert = require('assert').strict;

async function commands(hive, deviceId, start, { Command, query }) {
    const { id } = await hive.command.insert(deviceId, new Command({ command: 'open', parameters: { by: 3, how: [null, 'slow'] }, lifetime: 60 }));
    const other = await hive.command.insert(deviceId, new Command({ command: 'close' }));
    const found = await hive.command.get(deviceId, id);
    assert.deepEqual([found.command, found.parameters, found.deviceId, found.lifetime], ['open', { by: 3, how: [null, 'slow'] }, deviceId, 60]);
    await hive.command.update(new Command({ ...found, status: 'done', result: { angle: 90 } }));
    assert.deepEqual((await hive.command.get(deviceId, id)).result, { angle: 90 });

    const listed = async options => (await hive.command.list(new query.CommandListQuery({ deviceId, start, ...options }))).map(({ id }) => id);
    assert.deepEqual(await listed({ sortField: 'timestamp', sortOrder: 'ASC' }), [id, other.id]);
    assert.deepEqual(await listed({ command: 'close', take: 5, skip: 0 }), [other.id]);
    assert.deepEqual(await listed({ status: 'done' }), [id]);
    return id;
}

async function notifications(hive, deviceId, start, { Notification, query }) {
    const { id } = await hive.notification.insert(deviceId, new Notification({ notification: 'temperature', parameters: { c: 21.5 } }));
    const found = await hive.notification.get(deviceId, id);
    assert.deepEqual([found.notification, found.parameters, found.deviceId], ['temperature', { c: 21.5 }, deviceId]);
    const listed = await hive.notification.list(new query.NotificationListQuery({ deviceId, start, notification: 'temperature' }));
    assert.deepEqual(listed.map(({ id }) => id), [id]);
    return id;
}

async function polls(hive, deviceId, timestamp, commandId, notificationId, { Command, query }) {
    const ids = messages => messages.map(({ id }) => id);
    const several = { deviceIds: [deviceId], timestamp, waitTimeout: 0 };
    assert.ok(ids(await hive.command.poll(new query.CommandPollQuery({ deviceId, timestamp, waitTimeout: 0 }))).includes(commandId));
    assert.ok(ids(await hive.command.pollMany(new query.CommandPollManyQuery({ ...several, names: ['open', 'x'] }))).includes(commandId));
    const told = ids(await hive.notification.poll(new query.NotificationPollQuery({ deviceId, timestamp, names: ['temperature'], waitTimeout: 0 })));
    assert.deepEqual(told, [notificationId]);
    assert.ok(ids(await hive.notification.pollMany(new query.NotificationPollManyQuery(several))).includes(notificationId));
    const updated = new query.CommandPollQuery({ deviceId, timestamp, returnUpdatedCommands: true, waitTimeout: 0, limit: 1 });
    assert.deepEqual((await hive.command.poll(updated)).map(({ status }) => status), ['done']);

    const waiting = await hive.command.insert(deviceId, new Command({ command: 'turn' }));
    const result = hive.command.wait(deviceId, waiting.id, new query.CommandWaitQuery({ waitTimeout: 30 }));
    await hive.command.update(new Command({ id: waiting.id, deviceId, command: 'turn', status: 'done', result: [1] }));
    assert.deepEqual((await result).result, [1]);
}

module.exports = async ({ hive, models }) => {
    const deviceId = 'pump';
    await hive.device.add(new models.Device({ id: deviceId, name: 'Pump', networkId: 1, deviceTypeId: 1 }));
    const start = new Date(Date.now() - 60000).toISOString();
    const commandId = await commands(hive, deviceId, start, models);
    const notificationId = await notifications(hive, deviceId, start, models);
    if (hive.overHttp) {
        await polls(hive, deviceId, start, commandId, notificationId, models);
    }
};
