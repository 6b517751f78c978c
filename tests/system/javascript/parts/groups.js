// Networks and device types, which differ by name alone.
const assert = require('assert').strict;

async function manage({ api, Model, ListQuery, CountQuery, DeleteQuery, idName, taken }) {
    const { id } = await api.insert(new Model({ name: 'Garden', description: 'Green' }));
    assert.ok(id > 1);
    await api.update(new Model({ id, name: 'Park', description: 'Greener' }));
    const found = await api.get(id);
    assert.deepEqual([found.id, found.name, found.description], [id, 'Park', 'Greener']);
    await assert.rejects(api.insert(new Model({ name: 'Park', description: '' })), error => /already exists/.test(error));

    const listed = await api.list(new ListQuery({ namePattern: 'P%', sortField: 'name', sortOrder: 'ASC', take: 5, skip: 0 }));
    assert.deepEqual(listed.map(({ name }) => name), ['Park']);
    assert.equal((await api.count(new CountQuery({ name: 'Park' }))).count, 1);
    assert.equal((await api.count()).count, 2);

    await taken(id);
    await assert.rejects(api.delete(new DeleteQuery({ [idName]: id, force: false })), error => /following devices within this/.test(error));
    await api.delete(new DeleteQuery({ [idName]: id, force: true }));
    assert.equal((await api.count()).count, 1);
    await assert.rejects(api.get(id), error => /not found/.test(error));
}

module.exports = async ({ hive, models: { Device, DeviceType, Network, query } }) => {
    const saved = device => hive.device.add(new Device({ id: 'rose', name: 'Rose', networkId: 1, deviceTypeId: 1, ...device }));
    await manage({
        api: hive.network, Model: Network, ListQuery: query.NetworkListQuery, CountQuery: query.NetworkCountQuery,
        DeleteQuery: query.NetworkDeleteQuery, idName: 'networkId', taken: networkId => saved({ networkId }),
    });
    assert.equal((await hive.device.count()).count, 0);
    await manage({
        api: hive.deviceType, Model: DeviceType, ListQuery: query.DeviceTypeListQuery, CountQuery: query.DeviceTypeCountQuery,
        DeleteQuery: query.DeviceTypeDeleteQuery, idName: 'deviceTypeId', taken: deviceTypeId => saved({ deviceTypeId }),
    });
};
