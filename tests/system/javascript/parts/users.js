const assert = require('assert').strict;

async function assignments(hive, userId, { DeviceType, Network }) {
    const networkId = (await hive.network.insert(new Network({ name: 'Garden', description: '' }))).id;
    await hive.user.assignNetwork(userId, networkId);
    assert.equal((await hive.user.getNetwork(userId, networkId)).network.name, 'Garden');
    assert.deepEqual((await hive.user.get(userId)).networks.map(({ name }) => name), ['Garden']);
    if (hive.overHttp) {
        // The client has no WebSocket actions for these.
        const typeId = (await hive.deviceType.insert(new DeviceType({ name: 'Pump', description: '' }))).id;
        await hive.user.assignDeviceType(userId, typeId);
        assert.equal((await hive.user.getDeviceType(userId, typeId)).deviceType.name, 'Pump');
        assert.deepEqual((await hive.user.getDeviceTypes(userId)).map(({ id }) => id), [typeId]);
        await hive.user.assignAllDeviceTypes(userId);
        assert.equal((await hive.user.getDeviceTypes(userId)).length, 2);
        await hive.user.unassignAllDeviceTypes(userId);
        await hive.user.unassignDeviceType(userId, typeId);
        assert.deepEqual(await hive.user.getDeviceTypes(userId), []);
    }
    return networkId;
}

async function asAnna(hive, Client, networkId) {
    const anna = await new Client({ login: 'anna', password: 'password-3' }).connect();
    const current = await anna.user.getCurrent();
    assert.equal(current.login, 'anna');
    assert.deepEqual((await anna.network.list()).map(({ id }) => id), [networkId]);
    await assert.rejects(anna.user.list());
    current.data = { theme: 'dark' };
    await anna.user.updateCurrent({ toObject: () => ({ data: current.data }) });
    assert.deepEqual((await hive.user.get(current.id)).data, { theme: 'dark' });
    anna.disconnect();
}

module.exports = async ({ hive, Client, models }) => {
    const { User, query } = models;
    const { id } = await hive.user.insert(new User({
        login: 'anna', role: 1, status: 0, password: 'password-2', data: { a: 1 }, introReviewed: true, allDeviceTypesAvailable: false,
    }));
    const found = await hive.user.get(id);
    assert.deepEqual([found.login, found.role, found.status, found.data, found.introReviewed], ['anna', 1, 0, { a: 1 }, true]);
    const networkId = await assignments(hive, id, models);

    await hive.user.update(new User({ id, login: 'anna', role: 1, status: 0, password: 'password-3', data: { a: 2 }, allDeviceTypesAvailable: true }));
    assert.deepEqual((await hive.user.get(id)).data, { a: 2 });
    await asAnna(hive, Client, networkId);

    const listed = await hive.user.list(new query.UserListQuery({ loginPattern: '%', sortField: 'login', sortOrder: 'ASC' }));
    assert.deepEqual(listed.map(({ login }) => login), ['anna', 'dhadmin']);
    assert.equal((await hive.user.count(new query.UserCountQuery({ login: 'anna' }))).count, 1);
    assert.equal((await hive.user.getCurrent()).login, 'dhadmin');

    await hive.user.unassignNetwork(id, networkId);
    await assert.rejects(hive.user.getNetwork(id, networkId));
    await hive.user.delete(id);
    await assert.rejects(hive.user.get(id));
};
