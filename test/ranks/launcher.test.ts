/** The environment tells which launcher started a process. */
import { expect, test } from 'vitest'
import { native } from '../../lib/native/addon.js'
import { launched } from '../../lib/ranks/launcher.js'

test('a process that nothing launched is alone, and so is one of one', () => {
  expect(launched({})).toBeNull()
  expect(launched({ OMPI_COMM_WORLD_RANK: '0', OMPI_COMM_WORLD_SIZE: '1' })).toBeNull()
  expect(launched({ PMI_RANK: '0', PMI_SIZE: '1' })).toBeNull()
  expect(launched({ RANK: '0', WORLD_SIZE: '1' })).toBeNull()
  // Inside an allocation of Slurm, but not by srun.
  expect(launched({ SLURM_NTASKS: '8', SLURM_PROCID: '0' })).toBeNull()
})

test('launchers of MPI are known by their variables, and open what belongs to them', () => {
  const ompi = { OMPI_COMM_WORLD_RANK: '3', OMPI_COMM_WORLD_SIZE: '16', OMPI_COMM_WORLD_LOCAL_RANK: '1' }
  expect(launched({ ...ompi, PMIX_RANK: '3' })).toMatchObject({ by: 'mpi', rank: 3, size: 16, localRank: 1 })
  expect(launched(ompi)).toMatchObject({
    launcher: 'mpirun of Open MPI',
    libraries: ['libmpi.so.40', 'libmpi_abi.so.1'],
  })
  const hydra = { PMI_RANK: '1', PMI_SIZE: '2' }
  expect(launched({ ...hydra, MPI_LOCALRANKID: '1' })).toMatchObject({ rank: 1, size: 2, localRank: 1 })
  expect(launched(hydra)).toMatchObject({
    localRank: null,
    libraries: ['libmpich.so.12', 'libmpi.so.12', 'libmpi_abi.so.1'],
  })
  const slurm = { PMIX_RANK: '5', SLURM_NTASKS: '8', SLURM_LOCALID: '1', SLURM_PROCID: '5' }
  expect(launched(slurm)).toMatchObject({ by: 'mpi', rank: 5, size: 8, localRank: 1 })
  expect(launched({ ...hydra, MORA_MPI_LIBRARY: '/opt/mpi/libmpi.so' })).toMatchObject({
    libraries: ['/opt/mpi/libmpi.so'],
  })
})

test('launchers without MPI give an address', () => {
  const torchrun = { RANK: '3', WORLD_SIZE: '4', LOCAL_RANK: '1', MASTER_ADDR: 'first', MASTER_PORT: '1234' }
  expect(launched(torchrun)).toMatchObject({ by: 'tcp', rank: 3, size: 4, localRank: 1, address: 'first', port: 1234 })
  const pet = { PET_NODE_RANK: '1', PET_NNODES: '3', PET_NPROC_PER_NODE: 'auto', PET_MASTER_ADDR: 'job-node-0-0.job' }
  expect(launched({ ...pet, PET_MASTER_PORT: '29400' })).toMatchObject({
    by: 'tcp',
    rank: 1,
    size: 3,
    localRank: 0,
    address: 'job-node-0-0.job',
    port: 29400,
  })
  expect(launched({ ...pet, PET_NPROC_PER_NODE: '2', LOCAL_RANK: '1' })).toMatchObject({
    rank: 3,
    size: 6,
    localRank: 1,
  })
  const sky = { SKYPILOT_NODE_RANK: '1', SKYPILOT_NUM_NODES: '2', SKYPILOT_NODE_IPS: '10.0.0.1\n10.0.0.2' }
  expect(launched(sky)).toMatchObject({ by: 'tcp', rank: 1, size: 2, localRank: 0, address: '10.0.0.1', port: 29500 })
  expect(launched({ ...sky, LOCAL_WORLD_SIZE: '8', LOCAL_RANK: '2' })).toMatchObject({ rank: 10, size: 16 })
})

test.each([
  ['n[03-07,9],m1', 'n03'],
  ['node7,node8', 'node7'],
  ['rack[1-2]-a', 'rack1-a'],
  ['one', 'one'],
])('of %s, rank 0 of srun is on %s', (list, address) => {
  const slurm = { SLURM_PROCID: '2', SLURM_STEP_NUM_TASKS: '4', SLURM_LOCALID: '0', SLURM_JOB_ID: '2017' }
  expect(launched({ ...slurm, SLURM_STEP_NODELIST: list })).toMatchObject({
    by: 'tcp',
    rank: 2,
    size: 4,
    localRank: 0,
    address,
    port: 29517,
  })
})

test.each([
  [{ RANK: '0', WORLD_SIZE: '2' }, 'MASTER_ADDR, the address of rank 0, is not set.'],
  [{ RANK: '0', WORLD_SIZE: '2', MASTER_ADDR: 'a', MASTER_PORT: '99999' }, 'from 0 to 65535 for MASTER_PORT'],
  [
    { PET_NODE_RANK: '0', PET_NNODES: '2', PET_NPROC_PER_NODE: '2', PET_MASTER_ADDR: 'a' },
    'PET_NPROC_PER_NODE says that a machine has 2 processes, but LOCAL_RANK, which of them this is, is not set.',
  ],
  [{ PMI_RANK: '2', PMI_SIZE: '2' }, 'Expected a whole number from 0 to 1 for PMI_RANK but received "2".'],
  [{ PMI_RANK: '0', PMI_SIZE: 'two' }, 'Expected a whole number from 1 to 4096 for PMI_SIZE but received "two".'],
  [{ RANK: '0', WORLD_SIZE: '1048576' }, 'Expected a whole number from 1 to 4096 for WORLD_SIZE'],
  [
    { PET_NODE_RANK: '0', PET_NNODES: '64', PET_NPROC_PER_NODE: '65', PET_MASTER_ADDR: 'a' },
    'Expected a whole number from 0 to 64 for PET_NPROC_PER_NODE but received "65".',
  ],
  [{ PMI_RANK: '0', PMI_SIZE: '0' }, 'Expected a whole number from 1 to 4096 for PMI_SIZE but received "0".'],
])('%o is refused', (environment, message) => {
  expect(() => launched(environment)).toThrow(message)
})

test.each([
  [0, 1],
  [2, 2],
  [-1, 2],
])('gloo connects no rank %i of %i', (rank, size) => {
  expect(() => native.openGloo('127.0.0.1', rank, size, 1000)).toThrow('expected one of two or more ranks')
})
