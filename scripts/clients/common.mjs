/** What all clients ask about. */
import { z } from 'zod'

export const { MORA_URL: baseURL, MORA_MODEL: model } = process.env

export const Answer = z.object({ right: z.boolean() })
export const Weather = z.object({ sky: z.enum(['sun', 'rain']) })
export const tool = { name: 'weather', description: 'Tells the weather', parameters: z.toJSONSchema(Weather) }
