const assert = require('assert').strict;

module.exports = async ({ hive, models: { Device, query } }) => {
    const before = await hive.device.count();
    const device = new Device({ id: 'pump-1', name: 'Pump 1', data: { floor: [1, null] }, networkId: 1, deviceTypeId: 1, isBlocked: false });
    await hive.device.add(device);
    assert.equal((await hive.device.count()).count, before.count + 1);

    assert.deepEqual(await hive.device.get('pump-1'), device.toObject());
    device.name = 'Pump one';
    device.isBlocked = true;
    await hive.device.add(device);
    assert.deepEqual(await hive.device.get('pump-1'), device.toObject());

    await hive.device.add(new Device({ id: 'pump-2', name: 'Pump two', networkId: 1, deviceTypeId: 1 }));
    const listed = async options => (await hive.device.list(new query.DeviceListQuery(options))).map(({ id }) => id);
    assert.deepEqual(await listed({ namePattern: 'Pump %', sortField: 'name', sortOrder: 'DESC' }), ['pump-2', 'pump-1']);
    assert.deepEqual(await listed({ namePattern: 'Pump %', sortField: 'name', take: 1, skip: 1 }), ['pump-2']);
    assert.deepEqual(await listed({ name: 'Pump two', networkId: 1 }), ['pump-2']);
    assert.equal((await hive.device.count(new query.DeviceCountQuery({ namePattern: '%one' }))).count, 1);

    await hive.device.delete('pump-2');
    await assert.rejects(hive.device.get('pump-2'), error => /Device with such deviceId = pump-2 not found/.test(error));
};
