/** The environment tells which launcher started a process. */
import { expect, test } from 'vitest'
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

test.each([
  [{ PMI_RANK: '2', PMI_SIZE: '2' }, 'Expected a whole number from 0 to 1 for PMI_RANK but received "2".'],
  [{ PMI_RANK: '0', PMI_SIZE: 'two' }, 'Expected a whole number from 0 to 1048576 for PMI_SIZE but received "two".'],
  [{ PMI_RANK: '0', PMI_SIZE: '0' }, 'Expected at least 1 for PMI_SIZE but received 0.'],
])('%o is refused', (environment, message) => {
  expect(() => launched(environment)).toThrow(message)
})
